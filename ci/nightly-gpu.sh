#!/usr/bin/env bash
# Nightly on a machine with GPUs: builds against a CUDA build of PyTorch, runs the tests that need a GPU and the suites on
# the GPUs, with NCCL, and compares with the reference on the CPU.
#   SHARDCTS_TORCH=… ci/nightly-gpu.sh [--device cuda|cpu] [further arguments of `shardcts run`]
# World sizes go up to the number of GPUs: NCCL needs one for each rank. --device cpu follows the same path without a
# GPU, with the preset release. SHARDCTS_BUILD names an existing build folder, SHARDCTS_OUT the run folder
# (out/nightly-gpu). Exit code: that of `shardcts run`; 2 without a GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

device=cuda
if [ "${1:-}" = --device ]; then
  device="${2:-}"
  shift 2
fi
case "$device" in
  cuda)
    gpus=$(nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU' || true)
    if [ "$gpus" = 0 ]; then
      echo "nightly-gpu: no GPU here: nvidia-smi lists none (--device cpu takes the same way without one)" >&2
      exit 2
    fi
    preset=cuda build="${SHARDCTS_BUILD:-build-cuda}"
    ;;
  cpu)
    gpus=2 preset=release build="${SHARDCTS_BUILD:-build}"
    ;;
  *)
    echo "nightly-gpu: --device $device: neither cuda nor cpu" >&2
    exit 2
    ;;
esac

if [ -z "${SHARDCTS_BUILD:-}" ]; then
  ci/build.sh "$preset"
  if [ "$device" = cuda ]; then ctest --preset cuda -L gpu; fi
fi
out="${SHARDCTS_OUT:-out/nightly-gpu}"
code=0
"$build/shardcts" run --impl "torch,device=$device" --impl reference --baseline reference --max-world "$gpus" \
  --out "$out" "$@" || code=$?
if [ "$code" -gt 1 ]; then exit "$code"; fi
"$build/shardcts" report "$out"
exit "$code"
