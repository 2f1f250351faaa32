#!/bin/sh
# Becomes one host, in namespaces of its own (unshare --net --uts --ipc --pid --mount): a name, memory that no other host
# sees, and no folder to write to but the shared one. Then waits for commands.
#   host.sh NAME SHARED_FOLDER HOSTS_FILE
set -e
hostname "$1"
mount --bind "$2" "$2"
mount --bind "$3" /etc/hosts
mount -o remount,ro,bind /
if mountpoint -q /tmp; then mount -o remount,ro,bind /tmp; fi
mount -t tmpfs none /dev/shm
ip link set lo up
python3 "$(dirname "$0")/remote_shell.py" --serve &
wait # as the first process of the host it also takes leave of those whose parents have died
