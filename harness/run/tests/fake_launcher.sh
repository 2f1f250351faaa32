#!/bin/sh
# Starts COUNT ranks and leaves the others alone when one dies, as mpiexec -disable-auto-cleanup does with MPI programs.
# usage: fake_launcher.sh COUNT PROGRAM ARGUMENT…
count=$1
shift
rank=0
while [ "$rank" -lt "$count" ]; do
  PMI_RANK=$rank "$@" &
  rank=$((rank + 1))
done
wait
