#!/usr/bin/env bash
# After the install of `features`: torch computes, models of transformers and SwiftF0 load, audio can be read.
set -euo pipefail
python -c 'import pyarrow, sklearn, soundfile, soxr, swift_f0, torch, vaderSentiment; torch.ones(2, 2) @ torch.ones(2, 2)'
python -c 'from transformers import AutoModelForSequenceClassification, HubertModel, WhisperModel'
python -c 'import librosa, numpy; librosa.feature.mfcc(y=numpy.zeros(16000, "float32"), sr=16000)'
command -v ffmpeg >/dev/null ||
    echo "note: no ffmpeg on PATH, so m4a files cannot be read: load a module that has it, or use conda" >&2
