#!/usr/bin/env bash
# Builds what a sanitizer is for and runs its tests; any finding fails.
#   ci/sanitizers.sh asan-ubsan | tsan
# LibTorch, MPICH and CPython are not instrumented. What is switched off or suppressed for that reason says so here and in
# ci/tsan.supp.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset="${1:-}"

case "$preset" in
  asan-ubsan)  # every unit test, and the suites on the reference
    targets=(unit_tests shardcts shardcts-rank shardcts_reference fake_rank)
    label='unit|sanitized'
    run=()
    # They measure memory, and the sanitizer's own is most of what there is.
    tests=(-E '_memory_test')
    # No search for leaks at exit: the three libraries above leave memory there on purpose. The allocator may return null:
    # LibTorch asks for impossible sizes in tests of wrong input. A rank that crashes on purpose ends by its signal.
    export ASAN_OPTIONS="handle_segv=0 detect_leaks=0 allocator_may_return_null=1 detect_stack_use_after_return=1"
    export UBSAN_OPTIONS="halt_on_error=1 print_stacktrace=1"
    ;;
  tsan)  # the communicator of threads, and the controller
    targets=(threads_communicator_test call_state_test models_test sharding_layout_test control_test process_test run_test)
    label='tsan'
    tests=()
    run=(setarch -R)  # the sanitizer of GCC 12 breaks now and then where addresses have more random bits than it knows
    # A finding ends the process: in a rank that is a crash of the running test. One thread per operator: OpenMP is not
    # instrumented.
    # The sanitizer's own thread keeps a warm process from counting one thread: that is what RanksStartCold…/threads counts.
    export GTEST_FILTER='-*RanksStartColdAndTheResultsSayWhy/threads'
    export OMP_NUM_THREADS=1 TSAN_OPTIONS="halt_on_error=1 handle_segv=0 second_deadlock_stack=1 suppressions=$PWD/ci/tsan.supp"
    ;;
  *)
    echo "usage: ci/sanitizers.sh asan-ubsan | tsan" >&2
    exit 2
    ;;
esac

ci/build.sh "$preset" "${targets[@]}"
"${run[@]}" ctest --preset "$preset" -L "^($label)\$" "${tests[@]}"
