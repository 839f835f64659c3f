#!/usr/bin/env bash
# All tests, by three processes side by side on however few cores: the end-to-end ones wait more than they compute.
set -eu
cd "$(dirname "$0")/.."
# Some machines' environments forbid it: then each of the two thousand processes of the tests compiles margod anew.
unset PYTHONDONTWRITEBYTECODE
"$(dirname "$1")/python" -m compileall -q -x '/test_[^/]*\.py$' margod tests  # pytest compiles those in its own way
folder=$(mktemp -d /tmp/m-XXXX)  # short: the path of a socket has 107 bytes at most
trap 'rm -rf "$folder"' EXIT
"$1" -n 3 --dist loadscope --no-loadscope-reorder --basetemp "$folder/t"
