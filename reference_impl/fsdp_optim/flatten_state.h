// The layout of a parameter's optimizer state on this rank, before its tensors are filled. Everything here is *Local*.
// Tensors are in memory that the unit lends (FlatParameter::LendMemory). Semantics: _flatten_optim_state and
// _shard_orig_param_state in torch/distributed/fsdp/_optim_utils.py, torch 2.13.
#pragma once

#include "fsdp_optim/incoming_state.h"
#include "fsdp_optim/state_parts.h"

namespace shardcts::reference {

// Without use_orig_params: the state of the flat parameter from `state`, {FQN: {state name: value}}, in which at least
// the first member has an entry. Tensors with dimensions are shards; elements that no member will fill are zero.
// ValueError: members that do not match. RuntimeError: no state at all.
Dict FlatOutline(const UnitMembers& unit, const Dict& state);

// With use_orig_params: the state of one member; {} when other ranks alone have its elements. Tensors with dimensions
// are 1-D slices with undefined content; those of an unsharded unit are as given. ValueError: a tensor whose shape
// differs from the parameter's.
Dict SliceOutline(const UnitMembers& unit, size_t member, const Dict& state);

// The destination of this rank's part of one member's state in a result of the two functions above: 1-D, of this dtype.
// It is empty where SliceOutline is empty.
at::Tensor PlaceOf(const Member& member, const Key& name, at::ScalarType dtype, const Dict& outline);

}  // namespace shardcts::reference
