#!/usr/bin/env bash
# After the install of `whisperx`: torchaudio's compiled extensions fit another torch than this one, and importing
# torchaudio fails as long as they lie there. WhisperX needs its Python part only, so they are taken out; then all that
# transcribe.py uses is imported, and the voice activity model inside the wheel of whisperx is looked for. Offline.
set -euo pipefail
folder=$(python -c 'import importlib.util as u; print(u.find_spec("torchaudio").submodule_search_locations[0])')
find "$folder/lib" -name '*.so' -delete
PYANNOTE_METRICS_ENABLED=0 HF_HUB_OFFLINE=1 python -W ignore - <<'P'
import pathlib

import faster_whisper, torchaudio, transformers, whisperx
from whisperx import alignment, asr, diarize, vads

transformers.WhisperForConditionalGeneration, transformers.Wav2Vec2ForCTC, torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H
model = pathlib.Path(whisperx.__file__).parent / "assets" / "pytorch_model.bin"
assert model.stat().st_size > 10_000_000, model
P
command -v ffmpeg >/dev/null ||
    echo "note: no ffmpeg on PATH, so m4a files cannot be read: load a module that has it, or use conda" >&2
