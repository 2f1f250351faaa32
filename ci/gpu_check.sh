#!/usr/bin/env bash
# One look at ShardCTS on a bare machine with one GPU, in ten minutes and without a network: builds, runs nccl_gpu_test and
# the suites on PyTorch and on the reference, whose ranks share the GPU, and prints a table.
#   ci/gpu_check.sh --prepare                   where there is a network: collects what the machine may lack
#   ci/gpu_check.sh [--device TYPE] [--limit SECONDS] [--build DIR] [--filter PATTERN] …
# ci/gpu_check.py --help has all options. The machine needs PyTorch 2.11 or newer with its Python's headers, and a C++
# compiler. SHARDCTS_PYTHON names the Python that has PyTorch. Exit code: 0 everything conforms, 1 something does not, 2 the
# command or the machine is wrong, 3 the time was over before everything had run, or nothing passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python="${SHARDCTS_PYTHON:-}"
if [ -z "$python" ]; then
  python=python3
  if [ -x .venv/bin/python ]; then python=.venv/bin/python; fi
fi
command -v "$python" >/dev/null || { echo "gpu_check: no Python: $python (SHARDCTS_PYTHON)" >&2; exit 2; }
exec "$python" -B ci/gpu_check.py "$@"
