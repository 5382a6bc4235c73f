#!/usr/bin/env bash
# After the install of `asr`: NeMo's SALM (Canary-Qwen) imports. Offline: nothing is fetched here.
set -euo pipefail
HF_HUB_OFFLINE=1 WANDB_MODE=disabled python -c 'from nemo.collections.speechlm2.models import SALM'
