#!/usr/bin/env bash
# After the install of `local`: its voice activity detectors load, and so does the recogniser in the wheel.
set -euo pipefail
bash "$(dirname "$0")/vad.post.sh"
python -c 'import pocketsphinx; pocketsphinx.Decoder(loglevel="FATAL")'
