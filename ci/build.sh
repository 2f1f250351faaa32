#!/usr/bin/env bash
# Sets up and builds one preset (default: release) with ccache.
#   ci/build.sh [PRESET] [TARGET…]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:-release}"
shift || true

ci/setup.sh
cmake --preset "$preset" >/dev/null
targets=()
for target in "$@"; do targets+=(--target "$target"); done
cmake --build --preset "$preset" --parallel "$(nproc)" "${targets[@]}"
