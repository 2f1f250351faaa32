#!/usr/bin/env bash
# Sets up, builds and runs every test of the project itself, then the suites themselves.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ci/build.sh release
ctest --preset release
