#!/usr/bin/env bash
# Install the system programs that the tests use, where Debian's apt-get and root are at hand; else say what is missing.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }  # COMMAND PACKAGE
need slurmctld slurm-wlm
need munged munge
need ffmpeg ffmpeg
need flite flite
need espeak-ng espeak-ng
need shellcheck shellcheck
need git git
need chromium chromium
need chromedriver chromium-driver
need npm npm
ldconfig -p 2>/dev/null | grep -q 'libc++\.so\.1' || missing+=(libc++1)

[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "note: not on this machine: ${missing[*]}; the tests that use them say so and skip." >&2
    echo "      With root, on Debian or Ubuntu: apt-get install ${missing[*]}" >&2
    exit 0
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
# No daemon is to be started: the tests start their own cluster.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f $policy' EXIT
fi
install() { apt-get -q install -y --no-install-recommends -o Dpkg::Options::=--force-confold "${missing[@]}" >"$log" 2>&1; }
install || { apt-get -q update >>"$log" 2>&1 && install; } || { tail -n 20 "$log" >&2; exit 1; }
rm -f "$log"
