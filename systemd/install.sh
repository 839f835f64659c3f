#!/bin/sh
# Install margod's units, its user, its directories and the sample configuration; safe to run again after an upgrade.
#   systemd/install.sh                     on this system; margod itself is expected in /opt/margod
#   DESTDIR=/path systemd/install.sh       into an image: nothing is started, created or asked of a running system
# An existing configuration is never touched, and nothing is owned or changed recursively.
set -eu
umask 022
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=${DESTDIR:-}
lib=$root/usr/lib

put() { # put FILE FOLDER
    install -D -m 0644 "$here/$1" "$2/${1##*/}"
}

put margod.service "$lib/systemd/system"
put margod-wait-enrolled.service "$lib/systemd/system"
put margod-enrolled.target "$lib/systemd/system"
put sysusers.d/margod.conf "$lib/sysusers.d"
put tmpfiles.d/margod.conf "$lib/tmpfiles.d"

if [ -z "$root" ]; then
    systemd-sysusers "$lib/sysusers.d/margod.conf"
    systemd-tmpfiles --create "$lib/tmpfiles.d/margod.conf"
fi

configuration=$root/etc/margod/margod.yaml
if [ ! -e "$configuration" ] && [ ! -L "$configuration" ]; then
    install -d -m 0750 "$root/etc/margod" "$root/etc/margod/conf.d"
    install -m 0640 "$here/../config/margod.yaml" "$configuration"
    # In an image the group has no number yet: systemd-tmpfiles gives the file to it at boot.
    if [ -z "$root" ]; then chgrp margod /etc/margod /etc/margod/conf.d "$configuration"; fi
fi

if [ -z "$root" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
