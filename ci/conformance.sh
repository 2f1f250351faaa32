#!/usr/bin/env bash
# From a clone to a parity report: set-up, build, the suites on the reference and on PyTorch, the report.
#   ci/conformance.sh [further arguments of `shardcts run`]
#   ci/conformance.sh --torch 2.13.0,2.14.1,2.15.0 [further arguments]    on each of these versions (ci/versions.sh)
# The run folder is out/conformance. The report is copied to report/, with the kill table that ci/test.sh wrote to build/.
# Exit code: that of `shardcts run` (docs/verdicts.md).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --torch ]; then
  shift
  exec ci/versions.sh "$@"
fi

ci/build.sh release shardcts shardcts-rank shardcts_reference shardcts_python
code=0
build/shardcts run --impl reference --impl torch --out out/conformance "$@" || code=$?
if [ "$code" -gt 1 ]; then exit "$code"; fi
mutants=()
if [ -f build/mutants-run/mutants.json ]; then mutants=(--mutants build/mutants-run/mutants.json); fi
build/shardcts report out/conformance --out report "${mutants[@]}"
exit "$code"
