#!/usr/bin/env bash
# Pins every package with its hashes: lock.sh PYTHON. No index is written into the lock files.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
"$1" -m venv "$work"
"$work/bin/pip" install --quiet --disable-pip-version-check pip-tools
options="--quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-options"
options="$options --no-emit-index-url --no-emit-find-links --no-emit-trusted-host"
"$work/bin/pip-compile" $options -o requirements/runtime.lock pyproject.toml
"$work/bin/pip-compile" $options --extra dev -o requirements/dev.lock pyproject.toml
