#!/usr/bin/env bash
# The suites on several versions of PyTorch, and what differs between them (ci/conformance.sh --torch calls it).
#   ci/versions.sh 2.13.0,2.14.1,2.15.0 [further arguments of `shardcts run`]
# Each version gets a clone of the committed tree, a virtual environment and a build of its own in out/versions/VERSION,
# which stay for the next call. The page is report/versions.md. pip's own settings apply: they may cap the version.
# Exit code: that of the first run that is not green (docs/verdicts.md); 2 for a list that is none.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

IFS=, read -r -a versions <<<"${1:-}"
shift || true
for version in "${versions[@]:-}"; do
  if ! [[ "$version" =~ ^[0-9]+(\.[0-9]+)+(\+[a-z0-9.]+)?$ ]]; then
    echo "versions: '$version' is no version of PyTorch; as in 2.13.0,2.14.1" >&2
    exit 2
  fi
done

root="$PWD/out/versions"
mkdir -p "$root"
code=0
runs=()
for version in "${versions[@]}"; do
  clone="$root/$version"
  echo "versions: PyTorch $version in $clone"
  [ -d "$clone" ] || git clone --quiet --shared . "$clone"
  git -C "$clone" fetch --quiet "$PWD" HEAD
  git -C "$clone" reset --quiet --hard FETCH_HEAD
  this=0
  SHARDCTS_TORCH="torch==$version" "$clone/ci/conformance.sh" "$@" || this=$?
  if [ "$this" -gt 1 ]; then exit "$this"; fi
  if [ "$code" = 0 ]; then code=$this; fi
  runs+=("$clone/out/conformance")
done

mkdir -p report
PYTHONPATH=reports "$clone/.venv/bin/python" -B -m shardcts_reports.versions "${runs[@]}" --out report/versions.md
for ((k = 1; k < ${#runs[@]}; ++k)); do
  "$clone/build/shardcts" parity "${runs[k - 1]}" "${runs[k]}" --expected torch --actual torch || true
done
exit "$code"
