#!/usr/bin/env bash
# After the install of `vad` (and of what contains it): both engines load. The environment's bin stands first on PATH.
# TEN-VAD's native code needs LLVM's C++ library, which no wheel brings: where neither the system nor conda has it,
# Debian's packages are unpacked into the environment's lib folder (no root needed); else the remedy is printed.
set -euo pipefail
prefix=$(python -c 'import sys; print(sys.prefix)')
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")/../scripts" && pwd)

ten_loads() { (cd "$scripts" && python -c 'from media import ten; ten.load()') >/dev/null 2>&1; }

unpack_libcxx() {
    local folder packages
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' RETURN
    packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances libc++1 | grep -E '^(libc\+\+|libunwind)')
    # shellcheck disable=SC2086  # one word a package
    (cd "$folder" && apt-get -qq download $packages && for deb in *.deb; do dpkg -x "$deb" .; done)
    find "$folder" \( -name 'libc++*.so.1' -o -name 'libunwind.so.1' \) -exec cp -L {} "$prefix/lib/" \;
}

if ! ten_loads && command -v apt-get dpkg >/dev/null; then unpack_libcxx || true; fi
python - <<'P'
import importlib.util
import pathlib

import onnxruntime

package = pathlib.Path(importlib.util.find_spec("silero_vad").submodule_search_locations[0])
model = next(package.glob("**/silero_vad_16k_sequence.onnx"))
onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
P
if ! ten_loads; then
    echo "note: TEN-VAD does not load here, so vad.py runs with --engine silero only. It needs libc++.so.1:" \
        "apt-get install libc++1, or build this environment with conda, which brings libcxx." >&2
fi
command -v ffmpeg >/dev/null ||
    echo "note: no ffmpeg on PATH, so m4a files cannot be read: load a module that has it, or use conda" >&2
