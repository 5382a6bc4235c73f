#!/usr/bin/env bash
# After the install of `text`: espeak-ng of the wheel speaks, and Japanese and Mandarin are converted.
set -euo pipefail
PHONEMIZER_ESPEAK_LIBRARY=$(python -c 'import espeakng_loader; print(espeakng_loader.get_library_path())')
PHONEMIZER_ESPEAK_DATA_PATH=$(python -c 'import espeakng_loader; print(espeakng_loader.get_data_path())')
export PHONEMIZER_ESPEAK_LIBRARY PHONEMIZER_ESPEAK_DATA_PATH
python -c '
import langdetect, phonemizer, pykakasi, pypinyin, segments
assert phonemizer.phonemize(["hello"], language="en-us", strip=True) == ["həloʊ"]
assert pykakasi.kakasi().convert("東京")[0]["hira"] == "とうきょう"
assert pypinyin.lazy_pinyin("中国", style=pypinyin.Style.TONE3) == ["zhong1", "guo2"]'
