#!/usr/bin/env bash
# After the install of `train`: torch computes an LSTM, wandb imports without network, and the dashboard has its Chart.js.
set -euo pipefail
WANDB_MODE=offline python -c 'import sentencepiece, tokenizers, torch, transformers, wandb; torch.nn.LSTM(2, 2)(torch.zeros(1, 1, 2))'
bash "$(dirname "$0")/chart_js.sh" 4.6.1 hJyniucsFmq//EvXYvJ6c6mahPoI3kaxdjVH8awTaJ/fDNWeSqqqArixMJWkWNN6fcYvPU3HneSANFNYtRi61g==
