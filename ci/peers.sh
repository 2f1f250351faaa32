#!/usr/bin/env bash
# Other people's libraries under test (docs/peers.md), each with the packages that its file of requirements pins.
#   ci/peers.sh [PEER…]        default: all of them; build/shardcts must be there
# Packages go to out/peers/NAME/packages, without PyTorch, which is that of the build. Further arguments of `shardcts run`
# come from SHARDCTS_PEER_RUN (default: world size 2, and of each peer the suites that the page shows).
# Exit code: 0 when every run came to its end, whatever it found, and every defect of the page still shows; else 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=harness/adapters/peers
python=.venv/bin/python
declare -A implementations=(
  [accelerate]="python:accelerate_fsdp2:Accelerate python:accelerate_fsdp2:Accelerate,loading=efficient"
  [fairscale]="python:fairscale_fsdp:Fairscale,timeout_s=10 python:fairscale_fsdp:Fairscale,timeout_s=10,mended=yes"
  [megatron]="python:megatron_storage:Megatron,timeout_s=10"
  [torchsnapshot]="python:torchsnapshot_storage:Torchsnapshot,timeout_s=10 python:torchsnapshot_mended:Mended,timeout_s=10"
)
declare -A suites=(
  [accelerate]="--suite fully_shard_state_dict --suite state_dict --suite extended"
  [fairscale]="--suite fsdp_state_dict --suite fsdp_optim_state --suite extended"
  # A rank whose peer has failed waits, and its groups are of no use then.
  [megatron]="--suite storage --pool fresh"
  [torchsnapshot]="--suite storage --pool fresh"
)
if [ $# = 0 ]; then set -- accelerate fairscale megatron torchsnapshot; fi

code=0
for peer in "$@"; do
  if [ -z "${implementations[$peer]:-}" ]; then
    echo "peers: '$peer' is none of: $(printf '%s\n' "${!implementations[@]}" | sort | paste -sd ' ')" >&2
    exit 2
  fi
  packages="$PWD/out/peers/$peer/packages"
  if ! cmp -s "$folder/$peer.txt" "$packages/installed.txt"; then
    rm -rf "$packages"
    "$python" -m pip install --quiet --no-deps --target "$packages" -r "$folder/$peer.txt"
    cp "$folder/$peer.txt" "$packages/installed.txt"
  fi
  read -r -a arguments <<<"${SHARDCTS_PEER_RUN:-${suites[$peer]} --world 2}"
  number=0
  for implementation in ${implementations[$peer]}; do
    number=$((number + 1))
    run="out/peers/$peer/run-$number"
    this=0
    SHARDCTS_PYTHONPATH="$PWD/$folder:$packages" build/shardcts run --impl "$implementation" "${arguments[@]}" --out "$run" \
      >"out/peers/$peer/run-$number.txt" || this=$?
    if [ "$this" -gt 1 ]; then code=1; fi
    build/shardcts report "$run" --format text
    build/shardcts report "$run"
  done
  if [ -e "$folder/${peer}_defects.py" ]; then
    PYTHONPATH="$packages:$folder" PYTHONWARNINGS=ignore "$python" "$folder/${peer}_defects.py" || code=1
  fi
done
exit "$code"
