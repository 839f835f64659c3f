#!/usr/bin/env bash
# What pytest's workers would each do at their start, and the system tests in their turn, done once beside mypy.
set -eu
cd "$(dirname "$0")/.."
unset PYTHONDONTWRITEBYTECODE
# pytest compiles each file of tests with its assertions rewritten, and keeps that: three workers would do it three times.
"$1/python" -m pytest --collect-only -qq -p no:cacheprovider >/dev/null 2>&1 || true  # what is wrong, the tests will say
# The dependencies that go into the Debian packages, installed and compiled.
if [ "$(id -u)" = 0 ] && command -v dpkg-deb >/dev/null && [ -x /usr/bin/python3 ]; then
  "$1/python" tools/deb.py --dependencies >/dev/null ||
    echo "test: the dependencies for the Debian packages are not made yet; the system tests try it again and say why"
fi
