#!/usr/bin/env bash
# After the install of `oracles`: what `features` has, and the peers load.
set -euo pipefail
bash "$(dirname "$0")/features.post.sh"
python -c 'import faiss, opensmile, parselmouth'
