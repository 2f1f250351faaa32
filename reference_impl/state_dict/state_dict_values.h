// Converts between the library's state dicts and the contract's values. Everything here is *Local*; storage is shared
// both ways.
#pragma once

#include "contract/value.h"
#include "state_dict/state_dict.h"
#include "tensor/mesh_registry.h"

namespace shardcts::reference {

constexpr char kExtraStateKey[] = "_extra_state";

Value StateEntryValue(const StateValue& entry);
// For a plain tensor or a value that is not a tensor.
StateValue StateEntryFrom(const Value& value);

Dict StateDictValue(const StateDict& state_dict);
// RuntimeError: a DTensor on an unknown mesh.
StateDict StateDictFrom(const Dict& values, const MeshRegistry& meshes);

}  // namespace shardcts::reference
