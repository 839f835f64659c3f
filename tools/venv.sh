#!/usr/bin/env bash
# Makes the virtual environment from the lock file: venv.sh PYTHON FOLDER
set -eu
python=$1 folder=$2
[ -n "$python" ] || { echo "make: no python3 found; margod needs Python 3.11 or newer" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "make: $python is $("$python" -V 2>&1); margod needs Python 3.11 or newer" >&2; exit 1; }
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "make: installing python$version-venv, which Debian keeps apart" >&2
    mkdir -p .cache
    exec 9>.cache/apt && flock 9  # tools/test-prepare.sh may be at it too
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "python$version-venv"; } >/dev/null 9>&-
    exec 9>&-
  else
    echo "make: Debian keeps venv apart; install it once with: apt-get install python$version-venv" >&2
    exit 1
  fi
fi
echo "make: building $folder once; this takes about half a minute" >&2
"$python" -m venv --clear "$folder"
# One test tool has no wheel; older versions of pip say at length that they will build it in another way some day.
"$folder/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock \
  2> >(grep -v 'DEPRECATION: forbiddenfruit' >&2)
"$folder/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
