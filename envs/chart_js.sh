#!/usr/bin/env bash
# Put Chart.js where dashboard.py finds it, $PREFIX/share/amela/chart.umd.js: compute nodes cannot ask a CDN. chart_js.sh VERSION SHA512
# It comes by npm; without npm the environment is whole but for the dashboard's charts.
set -euo pipefail
version=$1 wanted=$2
folder=$(python -c 'import sys; print(sys.prefix)')/share/amela
if ! command -v npm >/dev/null; then
    echo "note: no npm here, so dashboard.py has no Chart.js: put chart.umd.js of chart.js $version into $folder, or install npm and build again"
    exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "chart.js@$version" >/dev/null)
found=$(python -c 'import base64, hashlib, sys; print(base64.b64encode(hashlib.sha512(open(sys.argv[1], "rb").read()).digest()).decode())' \
    "$work/chart.js-$version.tgz")
[ "$found" = "$wanted" ] || { echo "ERROR: chart.js $version: sha512 $found, wanted $wanted" >&2; exit 1; }
tar -xzf "$work/chart.js-$version.tgz" -C "$work"
mkdir -p "$folder"
cp "$work/package/dist/chart.umd.min.js" "$folder/chart.umd.js"
cp "$work/package/LICENSE.md" "$folder/chart.LICENSE.md"
