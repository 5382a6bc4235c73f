#!/usr/bin/env bash
# After the install of `bench`: the peers import.
set -euo pipefail
python -c 'import datatrove.pipeline.readers, lhotse, orjson'
