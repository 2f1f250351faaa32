// Between the library's state dicts and the contract's values. Everything here is *Local*; storage is shared both ways.
#pragma once

#include "contract/value.h"
#include "state_dict/state_dict.h"
#include "tensor/mesh_registry.h"

namespace shardcts::reference {

constexpr char kExtraStateKey[] = "_extra_state";

Value StateEntryValue(const StateValue& entry);
// Of a plain tensor or what is no tensor at all.
StateValue StateEntryFrom(const Value& value);

Dict StateDictValue(const StateDict& state_dict);
// RuntimeError: a DTensor on a mesh that is not known here.
StateDict StateDictFrom(const Dict& values, const MeshRegistry& meshes);

}  // namespace shardcts::reference
