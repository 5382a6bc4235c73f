#!/usr/bin/env bash
# After the install of `dac`: what `codec` has (no native part of torchaudio), and the original package loads.
set -euo pipefail
bash "$(dirname "$0")/codec.post.sh"
python -c 'import dac'
