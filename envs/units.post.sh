#!/usr/bin/env bash
# After the install of `units`: torch computes, and audio can be read.
set -euo pipefail
python -c 'import matplotlib, praatio, pyarrow, sklearn, soundfile, soxr, torch; torch.ones(2, 2) @ torch.ones(2, 2)'
command -v ffmpeg >/dev/null ||
    echo "note: no ffmpeg on PATH, so m4a files cannot be read: load a module that has it, or use conda" >&2
