#!/usr/bin/env bash
# Builds what a sanitizer preset is for and runs its tests; any finding fails.
#   ci/sanitizers.sh tsan
# LibTorch is not instrumented: what is suppressed for that reason stands in ci/PRESET.supp, one reason each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:-}"

case "$preset" in
  tsan)  # ranks that are threads, and the launcher
    targets=(threads_communicator_test call_state_test models_test sharding_layout_test launch_test
             shardcts shardcts-rank shardcts-start-rank shardcts_reference)
    label=tsan
    # A finding ends the process: in a rank that is a crash of the running test. One thread per operator: OpenMP is not
    # instrumented.
    export OMP_NUM_THREADS=1 TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 suppressions=$PWD/ci/tsan.supp"
    ;;
  *)
    echo "usage: ci/sanitizers.sh tsan" >&2
    exit 2
    ;;
esac

ci/build.sh "$preset" "${targets[@]}"
ctest --preset "$preset" -L "^$label\$"
