#!/usr/bin/env bash
# After the install of `train`: torch computes an LSTM, and wandb imports without network.
set -euo pipefail
WANDB_MODE=offline python -c 'import torch, wandb; torch.nn.LSTM(2, 2)(torch.zeros(1, 1, 2))'
