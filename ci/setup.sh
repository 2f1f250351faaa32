#!/usr/bin/env bash
# Installs what ShardCTS builds and runs with: Debian packages and a Python virtual environment (.venv).
# Idempotent: does nothing, in well under a second, when everything is there.
#
#   SHARDCTS_TORCH   pip requirement for PyTorch (default: torch==2.13.0), for a CUDA or vendor build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(g++ cmake ninja-build ccache mpich libmpich-dev libgtest-dev libgmock-dev libbenchmark-dev
          nlohmann-json3-dev libcli11-dev libfmt-dev libtomlplusplus-dev libxxhash-dev
          python3-dev python3-venv gdb chromium chromium-driver shellcheck)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
  [ "$status" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  sudo=""
  [ "$(id -u)" = 0 ] || sudo=sudo
  echo "setup: installing Debian packages: ${missing[*]}"
  $sudo apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

torch="${SHARDCTS_TORCH:-torch==2.13.0}"
stamp=.venv/.shardcts-setup
wanted=$( (echo "$torch"; cat ci/requirements.txt) | sha256sum)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
  echo "setup: creating .venv with $torch and the packages of ci/requirements.txt"
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
  .venv/bin/python -m pip install --quiet "$torch" -r ci/requirements.txt
  echo "$wanted" >"$stamp"
fi
