#!/usr/bin/env bash
# After the install of `vad` (and of what contains it): both engines load. The environment's bin stands first on PATH.
# TEN-VAD's native code needs LLVM's C++ library, which no wheel brings: where neither the system nor conda has it,
# Debian's packages are unpacked into the environment's lib folder (no root needed); else the remedy is printed.
set -euo pipefail
prefix=$(python -c 'import sys; print(sys.prefix)')

find_libcxx() {
    python - <<'P'
import ctypes, os, sys
for name in (os.path.join(sys.prefix, "lib", "libc++.so.1"), "libc++.so.1"):
    try:
        sys.exit(not ctypes.CDLL(name))
    except OSError:
        pass
sys.exit(1)
P
}

unpack_libcxx() {
    local folder packages
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' RETURN
    packages=$(apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
        --no-enhances libc++1 | grep -E '^(libc\+\+|libunwind)')
    # shellcheck disable=SC2086  # one word a package
    (cd "$folder" && apt-get -qq download $packages && for deb in *.deb; do dpkg -x "$deb" .; done)
    find "$folder" \( -name 'libc++*.so*' -o -name 'libunwind*.so*' \) -exec cp -P {} "$prefix/lib/" \;
    # libc++ looks for its own parts where it lies
    (cd "$prefix/lib" && for lib in libc++.so.1 libc++abi.so.1 libunwind.so.1; do
        [ ! -L "$lib" ] || [ -e "$lib" ] || ln -sf "$(find "$folder" -name "$lib*" -type f -printf '%f\n' | head -1)" "$lib"
    done)
}

if [ "$(uname -s)" = Linux ] && ! find_libcxx; then
    if command -v apt-get dpkg >/dev/null; then unpack_libcxx || true; fi
fi
python - <<'P'
import importlib.util
import pathlib

import onnxruntime

package = pathlib.Path(importlib.util.find_spec("silero_vad").submodule_search_locations[0])
model = next(package.glob("**/silero_vad_16k_sequence.onnx"))
onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
P
if [ "$(uname -s)" = Linux ] && ! find_libcxx; then
    echo "note: libc++.so.1 is not on this machine, so vad.py runs with --engine silero only." \
        "For --engine ten: apt-get install libc++1, or build this environment with conda (it brings libcxx)." >&2
fi
command -v ffmpeg >/dev/null ||
    echo "note: no ffmpeg on PATH, so m4a files cannot be read: load a module that has it, or use conda" >&2
