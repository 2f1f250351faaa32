#!/usr/bin/env bash
# Installs what ShardCTS builds and runs with: Debian packages and a Python virtual environment (.venv).
# Idempotent: does nothing, in well under a second, when everything is there.
#
#   SHARDCTS_TORCH   pip requirement for PyTorch (default: torch==2.13.0), for a CUDA or vendor build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(g++ cmake ninja-build ccache mpich libmpich-dev libgtest-dev libgmock-dev libbenchmark-dev
          nlohmann-json3-dev libcli11-dev libtomlplusplus-dev libxxhash-dev libzip-dev pkg-config
          python3-dev python3-venv gdb iproute2 procps chromium chromium-driver shellcheck)

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

# Headers of NCCL and the CUDA runtime, which every build compiles against; at run time the libraries are loaded where
# there are any. A CUDA build of PyTorch brings its own. Of NCCL's wheel (300 MB) only the header is kept.
cuda_headers=(nvidia-cuda-runtime==13.5.37 nvidia-cuda-crt==13.5.37 nvidia-cuda-cccl==13.3.5.0.6)
nccl=nvidia-nccl-cu13==2.32.3
site=(.venv/lib/python3*/site-packages)
if [ ! -f "${site[0]}/nvidia/cu13/include/nv/target" ]; then
  echo "setup: installing the CUDA runtime's headers"
  .venv/bin/python -m pip install --quiet --no-deps "${cuda_headers[@]}"
fi
if [ ! -f "${site[0]}/nvidia/nccl/include/nccl.h" ]; then
  echo "setup: fetching NCCL's header"
  wheels=$(mktemp -d)
  trap 'rm -rf "$wheels"' EXIT
  .venv/bin/python -m pip download --quiet --no-deps --dest "$wheels" "$nccl"
  .venv/bin/python -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("nvidia/nccl/include/nccl.h", sys.argv[2])' \
    "$wheels"/*.whl "${site[0]}"
fi
