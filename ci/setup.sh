#!/usr/bin/env bash
# Installs what ShardCTS builds and runs with: Debian packages and a Python virtual environment (.venv).
# Idempotent: does nothing, in well under a second, when everything is there.
#
#   SHARDCTS_TORCH   pip requirement for PyTorch (default: torch==2.13.0), or the path of a wheel: for another build. It is
#                    remembered in .venv, for calls without it.
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

default_torch=torch==2.13.0
named_torch=.venv/.shardcts-torch
if [ -n "${SHARDCTS_TORCH:-}" ]; then
  torch="$SHARDCTS_TORCH"
elif [ -f "$named_torch" ]; then
  torch="$(cat "$named_torch")"
  echo "setup: .venv keeps $torch, named before by SHARDCTS_TORCH (SHARDCTS_TORCH=$default_torch goes back to the default)"
else
  torch="$default_torch"
fi
stamp=.venv/.shardcts-setup
wanted=$( (echo "$torch"; cat ci/requirements.txt) | sha256sum)
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
  echo "setup: creating .venv with $torch and the packages of ci/requirements.txt"
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv .venv
  rm -f "$stamp"
  .venv/bin/python -m pip install --quiet "$torch" -r ci/requirements.txt
  # What pip chose depends on its own settings, too: other indexes, constraints.
  installed=$(.venv/bin/python -I -c 'import importlib.util as u, runpy
print(runpy.run_path(u.find_spec("torch").submodule_search_locations[0] + "/version.py")["__version__"])')
  echo "setup: installed PyTorch $installed; .venv has $(du -sh .venv | cut -f1)"
  if [ "$torch" = "$default_torch" ]; then rm -f "$named_torch"; else echo "$torch" >"$named_torch"; fi
  echo "$wanted" >"$stamp"
fi

# Headers of the CUDA runtime and of NCCL, which every build compiles against; at run time the libraries are loaded where
# there are any. A CUDA build of PyTorch brings a part of them, and the rest must be of the same version.
site=(.venv/lib/python3*/site-packages)
include="${site[0]}/nvidia/cu13/include"
if [ ! -f "$include/cuda_runtime_api.h" ]; then
  echo "setup: installing the CUDA runtime's headers"
  .venv/bin/python -m pip install --quiet --no-deps nvidia-cuda-runtime==13.5.37
fi
cuda_version=$(sed -n 's/^#define CUDART_VERSION *\([0-9]*\).*/\1/p' "$include/cuda_runtime_api.h")
minor=$((cuda_version % 1000 / 10))
crt=("${site[0]}/nvidia_cuda_crt-13.$minor".*.dist-info)
if [ ! -d "${crt[0]}" ] || [ ! -f "$include/crt/host_defines.h" ] || [ ! -f "$include/nv/target" ]; then
  echo "setup: installing further headers of CUDA 13.$minor"
  .venv/bin/python -m pip install --quiet --no-deps "nvidia-cuda-crt==13.$minor.*" "nvidia-cuda-cccl<13.$((minor + 1))"
fi
# Of NCCL's wheel (300 MB) only the header is kept.
nccl=nvidia-nccl-cu13==2.32.3
if [ ! -f "${site[0]}/nvidia/nccl/include/nccl.h" ]; then
  echo "setup: fetching NCCL's header"
  wheels=$(mktemp -d)
  trap 'rm -rf "$wheels"' EXIT
  .venv/bin/python -m pip download --quiet --no-deps --dest "$wheels" "$nccl"
  .venv/bin/python -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("nvidia/nccl/include/nccl.h", sys.argv[2])' \
    "$wheels"/*.whl "${site[0]}"
fi
