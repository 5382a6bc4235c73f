#!/usr/bin/env bash
# After the install of `local`: its voice activity detectors load, the recogniser in the wheel does too, and torch computes.
set -euo pipefail
bash "$(dirname "$0")/vad.post.sh"
python -c 'import pocketsphinx; pocketsphinx.Decoder(loglevel="FATAL")'
python -c "import matplotlib, pyarrow, sklearn, torch; torch.ones(2, 2) @ torch.ones(2, 2)"
python -c "import safetensors, sentencepiece, tokenizers, transformers, websockets"
bash "$(dirname "$0")/chart_js.sh" 4.6.1 hJyniucsFmq//EvXYvJ6c6mahPoI3kaxdjVH8awTaJ/fDNWeSqqqArixMJWkWNN6fcYvPU3HneSANFNYtRi61g==
