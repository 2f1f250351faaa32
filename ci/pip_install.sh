#!/usr/bin/env bash
# What pip makes of this tree, for real: a virtual environment in out/pip-install, `pip install --no-build-isolation` there,
# then the commands from a foreign folder. PyTorch is SHARDCTS_TORCH (torch==2.13.0), as in ci/setup.sh. The build folder
# stays for the next call. SHARDCTS_MPI (off) and SHARDCTS_THIRD_PARTY (auto) are passed to CMake.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder="$PWD/out/pip-install"
python="$folder/venv/bin/python"
rm -rf "$folder/venv" "$folder/elsewhere"
mkdir -p "$folder/elsewhere"
python3 -m venv "$folder/venv"
"$python" -m pip install --quiet "${SHARDCTS_TORCH:-torch==2.13.0}" scikit-build-core
"$python" -m pip install --no-build-isolation --config-settings=build-dir="$folder/build" \
  --config-settings=cmake.define.SHARDCTS_MPI="${SHARDCTS_MPI:-off}" \
  --config-settings=cmake.define.SHARDCTS_THIRD_PARTY="${SHARDCTS_THIRD_PARTY:-auto}" .

cd "$folder/elsewhere"
shardcts="$folder/venv/bin/shardcts"
"$shardcts" list --filter cached --world 2 | tail -n 1
"$shardcts" run --impl reference --impl torch --filter cached --world 2 --out out
"$shardcts" report out
"$folder/venv/bin/shardcts-report" out --out pages
if [ "${SHARDCTS_MPI:-off}" = off ]; then
  code=0
  said=$("$shardcts" run --impl reference,comm=mpi --filter cached --world 2 --out mpi 2>&1) || code=$?
  case "$code $said" in
    "2 "*"built without MPI"*) ;;
    *) echo "pip_install: comm=mpi was not refused: exit code $code: $said" >&2; exit 1 ;;
  esac
fi
echo "pip_install: $("$python" -m pip list 2>/dev/null | grep -E '^shardcts ') in $(du -sm "$folder/venv/lib/"*/site-packages/shardcts_installed | cut -f1) MiB"
