#!/usr/bin/env bash
# After the install of `codec`: torchaudio runs as plain Python, and every codec's package loads.
# torchaudio 2.11, the newest there is, is built for CUDA's PyTorch: its native part loads only where CUDA's
# libraries are. vocos and encodec import it and use none of that part, so it is taken out where it does not load.
set -euo pipefail
python - <<'P'
import importlib.util
import pathlib
import subprocess
import sys

LOADS = [sys.executable, "-c", "import torchaudio"]
if subprocess.run(LOADS, capture_output=True).returncode:
    folder = pathlib.Path(importlib.util.find_spec("torchaudio").submodule_search_locations[0])
    for library in (folder / "lib").glob("*.so"):
        library.unlink()
    subprocess.run(LOADS, check=True)
P
python -c 'import encodec, pyarrow, soundfile, soxr, torch, vocos; torch.ones(2, 2) @ torch.ones(2, 2)'
python -c 'from transformers import DacModel, EncodecModel'
command -v ffmpeg >/dev/null ||
    echo "note: no ffmpeg on PATH, so m4a files cannot be read: load a module that has it, or use conda" >&2
