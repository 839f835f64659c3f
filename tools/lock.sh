#!/usr/bin/env bash
# Pins every package with its hashes: lock.sh PYTHON. Where packages come from is not written into the lock files.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
"$1" -m venv "$work"
"$work/bin/pip" install --quiet --disable-pip-version-check pip-tools
options="--quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options"
"$work/bin/pip-compile" $options -o requirements/runtime.lock pyproject.toml
"$work/bin/pip-compile" $options --extra dev -o requirements/dev.lock pyproject.toml
sed -i '/^--/d' requirements/*.lock  # the options of this machine, which are nobody else's
