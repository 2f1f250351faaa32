// One parameter's optimizer state {state name: value}, by the kinds of values that it may hold. Everything here is
// *Local*. Semantics: torch/distributed/fsdp/_optim_utils.py, torch 2.13.
#pragma once

#include <string>
#include <vector>

#include "contract/value.h"

namespace shardcts::reference {

// Such state is sharded like its parameter. All other state (tensors without dimensions, plain values) is not.
bool IsTensorWithDims(const Value& value);
bool IsTensorWithoutDims(const Value& value);

// The entries, sorted by state name.
std::vector<Dict::Entry> SortedEntries(const Dict& state);

// The value, in which each tensor (a local part, a shard), also in lists and dicts, that shares storage with one of
// `other` is a copy. A tensor that several parameter groups share has one copy, which they share.
Value WithoutStorageOf(const Value& other, const Value& value);

// The state with copies of all plain tensors and of the local parts of DTensors on the CPU.
Dict CopiedToCpu(const Dict& state);

// ['a', 'b']
std::string ListText(const std::vector<std::string>& names);

}  // namespace shardcts::reference
