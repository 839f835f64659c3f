#!/usr/bin/env bash
# All tests, by three processes side by side on however few cores: the end-to-end ones wait more than they compute.
set -eu
cd "$(dirname "$0")/.."
exec "$1" -n 3 --dist loadgroup --no-loadscope-reorder
