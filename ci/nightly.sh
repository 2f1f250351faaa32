#!/usr/bin/env bash
# Nightly, without a GPU: what takes too long for the gate. Faults of SHARDCTS_SOAK_FAULTS (300) at random places,
# with the seed SHARDCTS_SOAK_SEED (drawn and printed); the suites of upstream on the emulated accelerator at all worlds,
# and all suites on the reference over MPI; the mutation score of SHARDCTS_SCORE_MUTANTS (300) changes at
# random, in out/mutation-score; checkpoints damaged and crash points chosen by the seed SHARDCTS_DAMAGE_SEED (drawn
# and printed); both sanitizers; pip's own build into a virtual environment beside PyTorch, without MPI, and one test
# there (ci/pip_install.sh). With a GPU: ci/nightly-gpu.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ci/build.sh release
SHARDCTS_SOAK_FAULTS="${SHARDCTS_SOAK_FAULTS:-300}" .venv/bin/python -B -m pytest -q -p no:cacheprovider \
  harness/system_tests/soak_test.py
SHARDCTS_HOSTDEV_WORLDS=1,2,4 \
  .venv/bin/python -B -m pytest -q -p no:cacheprovider harness/system_tests/hostdev_test.py -k suites_of_upstream
build/shardcts run --impl reference,comm=mpi --out out/over-mpi
.venv/bin/python -B harness/mutants/score/mutation_score.py --build build --count "${SHARDCTS_SCORE_MUTANTS:-300}" \
  --out out/mutation-score
damage_seed="${SHARDCTS_DAMAGE_SEED:-$RANDOM}"
echo "checkpoints damaged and ranks killed by seed $damage_seed"
build/shardcts run --impl reference --filter 'storage/HX11/*' --filter 'storage/CR*' --seed "$damage_seed" \
  --out out/damage
ci/sanitizers.sh asan-ubsan
ci/sanitizers.sh tsan
ci/pip_install.sh
