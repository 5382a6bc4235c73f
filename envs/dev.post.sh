#!/usr/bin/env bash
# After the install of `dev`: as `local`, which it contains.
exec bash "$(dirname "$0")/local.post.sh"
