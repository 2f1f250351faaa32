#!/usr/bin/env bash
# Nightly on a machine with GPUs or other accelerators: builds against a build of PyTorch for them, runs the tests that need
# a GPU and the suites on the devices, with the backend that PyTorch has for them, and compares with the reference on the CPU.
#   SHARDCTS_TORCH=… ci/nightly-gpu.sh [--device TYPE] [--import MODULE] [further arguments of `shardcts run`]
# TYPE: cuda (default), another device type of PyTorch, one that the Python module MODULE brings, or cpu, which follows the
# same path without a device. cuda is built with the preset cuda, everything else with release. PyTorch counts the devices
# (torch.accelerator); world sizes go up to their number. SHARDCTS_BUILD names an existing build folder, SHARDCTS_PYTHON its
# Python, SHARDCTS_OUT the run folder (out/nightly-gpu). Exit code: that of `shardcts run`; 2 without a device.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

device=cuda module=
while [ "${1:-}" = --device ] || [ "${1:-}" = --import ]; do
  if [ "$1" = --device ]; then device="${2:-}"; else module="${2:-}"; fi
  shift 2 || { echo "nightly-gpu: $1 needs a value" >&2; exit 2; }
done
if ! [[ "$device" =~ ^[a-z][a-z0-9_]*$ ]]; then
  echo "nightly-gpu: --device '$device': not a device type" >&2
  exit 2
fi

preset=release
if [ "$device" = cuda ]; then preset=cuda; fi
build="${SHARDCTS_BUILD:-build}"
if [ -z "${SHARDCTS_BUILD:-}" ] && [ "$preset" = cuda ]; then build="build-cuda"; fi

# How many devices of this type there are, as PyTorch counts them; nothing where it knows none.
count_devices() {
  PYTHONPATH="$build/python${PYTHONPATH:+:$PYTHONPATH}" "${SHARDCTS_PYTHON:-.venv/bin/python}" - "$device" "$module" <<'PYTHON'
import importlib, sys
import torch
device, module = sys.argv[1:]
try:
    module and importlib.import_module(module)
except Exception as error:
    sys.exit(f"nightly-gpu: module {module} cannot be imported: {type(error).__name__}: {error}")
found = torch.accelerator.current_accelerator(check_available=True)
if found is not None and found.type == device:
    print(torch.accelerator.device_count())
PYTHON
}

no_device() {
  echo "nightly-gpu: no $device device here: PyTorch finds none (--device cpu takes the same way without one)" >&2
  exit 2
}

# Where PyTorch is there already, the device is looked for before anything is built.
if [ "$device" != cpu ] && [ -z "$module" ] && [ -x "${SHARDCTS_PYTHON:-.venv/bin/python}" ]; then
  [ -n "$(count_devices)" ] || no_device
fi
if [ -z "${SHARDCTS_BUILD:-}" ]; then
  ci/build.sh "$preset"
  if [ "$device" = cuda ]; then ctest --preset cuda -L gpu; fi
fi
devices=2
if [ "$device" != cpu ]; then
  devices=$(count_devices) || exit 2
  [ -n "$devices" ] || no_device
fi

out="${SHARDCTS_OUT:-out/nightly-gpu}"
code=0
"$build/shardcts" run --impl "torch,device=$device${module:+,import=$module}" --impl reference --baseline reference \
  --max-world "$devices" --out "$out" "$@" || code=$?
if [ "$code" -gt 1 ]; then exit "$code"; fi
"$build/shardcts" report "$out"
exit "$code"
