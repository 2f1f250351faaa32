#include "state_dict/state_dict_values.h"

namespace shardcts::reference {
namespace {

// The Python type that such a value has.
std::string PythonTypeName(const Value& value) {
  switch (value.type()) {
    case Value::Type::kNone: return "NoneType";
    case Value::Type::kDouble: return "float";
    case Value::Type::kString: return "str";
    default: return std::string(value.TypeName());
  }
}

}  // namespace

Value StateEntryValue(const StateValue& entry) {
  if (const auto* distributed = std::get_if<DTensor>(&entry)) return ToContract(*distributed, /*is_parameter=*/false);
  if (const auto* sharded = std::get_if<ShardedTensor>(&entry)) return *sharded;
  if (const auto* other = std::get_if<NotATensor>(&entry)) return other->value;
  if (const auto* whole = std::get_if<WholeTensor>(&entry)) return whole->fetch();
  return std::get<at::Tensor>(entry);
}

StateValue StateEntryFrom(const Value& value) {
  if (const auto* tensor = value.TryAs<Tensor>()) return tensor->data;
  if (const auto* sharded = value.TryAs<ShardedTensor>()) return *sharded;
  return NotATensor{PythonTypeName(value), value};
}

Dict StateDictValue(const StateDict& state_dict) {
  Dict values;
  for (const auto& [name, entry] : state_dict) values.Set(name, StateEntryValue(entry));
  return values;
}

StateDict StateDictFrom(const Dict& values, const MeshRegistry& meshes) {
  StateDict state_dict;
  for (const auto& [key, value] : values) {
    const auto* distributed = value.TryAs<shardcts::DTensor>();
    state_dict.emplace_back(ToString(key),
                            distributed ? StateValue(FromContract(*distributed, meshes)) : StateEntryFrom(value));
  }
  return state_dict;
}

}  // namespace shardcts::reference
