#!/usr/bin/env bash
# After the install of `sts`: fairseq has its HuBERT, and scikit-learn its k-means.
set -euo pipefail
python -c 'from fairseq.models.hubert.hubert import HubertModel; from sklearn.cluster import KMeans' 2>/dev/null
