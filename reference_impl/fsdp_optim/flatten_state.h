// What a parameter's optimizer state looks like on this rank, before its tensors are there. Everything here is *Local*.
// Semantics: _flatten_optim_state and _shard_orig_param_state in torch/distributed/fsdp/_optim_utils.py, torch 2.13.
#pragma once

#include "fsdp_optim/incoming_state.h"

namespace shardcts::reference {

// Without use_orig_params: the state of the flat parameter out of `state`, {FQN: {state name: value}}, in which at least
// the first member has an entry. Tensors with dimensions are shards of zeros on the CPU.
// ValueError: members that do not fit together. RuntimeError: no state at all.
Dict FlatOutline(const UnitMembers& unit, const Dict& state);

// With use_orig_params: the state of one member; {} when this rank has none of its elements. Tensors with dimensions
// are 1-D slices with undefined content; those of an unsharded unit whole, in their shape.
// ValueError: a tensor of another size than the parameter.
Dict SliceOutline(const UnitMembers& unit, size_t member, const Dict& state);

// Puts this rank's part of a whole state tensor of one member where it belongs in what these two gave.
void Deposit(const at::Tensor& whole, const UnitMembers& unit, size_t member, const Key& name, Dict& outline);

}  // namespace shardcts::reference
