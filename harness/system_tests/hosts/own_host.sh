#!/bin/sh
# Runs one rank as if it were alone on its host: a host name and a folder of its own. For where hosts cannot be made.
#   own_host.sh FOLDER PROGRAM ARGUMENT…
set -e
name="host$PMI_RANK"
mkdir -p "$1/$name"
cd "$1/$name"
export TMPDIR="$PWD" HOME="$PWD" UCX_TLS=tcp,self # no memory is shared between hosts
shift
# shellcheck disable=SC2016  # for the inner shell
exec unshare --map-root-user --uts sh -c 'hostname "$0" && exec "$@"' "$name" "$@"
