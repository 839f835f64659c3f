#!/usr/bin/env bash
# What the tests use from outside Python: Debian packages where root can install them, one npm package.
# Without root, what is missing is named, and the tests that need it are skipped with the reason.
set -eu
cd "$(dirname "$0")/.."

declare -A package=([curl]=curl [openssl]=openssl [strace]=strace [systemd-nspawn]=systemd-container [node]=nodejs [npm]=npm [mount]=mount [mkfs.ext4]=e2fsprogs [mkfs.btrfs]=btrfs-progs [tinyproxy]=tinyproxy-bin [faketime]=faketime
  [ip]=iproute2 [avahi-daemon]=avahi-daemon [avahi-browse]=avahi-utils [dbus-daemon]=dbus [mandoc]=mandoc)
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package[$program]}")
done
# One test compares a constant with the C library's own header.
if ! command -v cc >/dev/null; then missing+=(gcc libc6-dev); fi
# The system tests make an environment with Debian's own Python, as the README does for a device.
if [ -x /usr/bin/python3 ] && ! /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then missing+=(python3-venv); fi
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "test: installing ${missing[*]}"
    mkdir -p .cache
    exec 9>.cache/apt && flock 9  # tools/venv.sh may be at it too
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"; } >/dev/null 9>&-
    exec 9>&-
  else
    echo "test: not installed, so what needs them is skipped: ${missing[*]}"
  fi
fi

# Another implementation of HTTP message signatures, in another language.
if command -v npm >/dev/null && ! cmp -s tests/interop/package-lock.json tests/interop/node_modules/.margod-lock; then
  (cd tests/interop && npm ci --silent --no-audit --no-fund --ignore-scripts && cp package-lock.json node_modules/.margod-lock)
fi

# The environment that the system tests put into their boxes: half a minute, here beside the checkers.
if [ "$(id -u)" = 0 ] && [ -x /usr/bin/python3 ]; then
  /usr/bin/python3 -c 'from tests.system import installation; installation.dependencies()' ||
    echo "test: the environment of the system tests is not made yet; they try it again and say why"
fi
