#include "serialization/value_bytes.h"

#include <fmt/format.h>

#include <cstring>

#include "contract/value_bytes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr std::string_view kMagic = "shardcts state 2\n";

// Whether the value is, or holds, a T.
template <class T>
bool Holds(const Value& value) {
  if (value.TryAs<T>()) return true;
  if (const List* list = value.TryAs<List>()) {
    for (const Value& item : *list) {
      if (Holds<T>(item)) return true;
    }
  } else if (const Dict* dict = value.TryAs<Dict>()) {
    for (const Dict::Entry& entry : *dict) {
      if (Holds<T>(entry.value)) return true;
    }
  }
  return false;
}

[[noreturn]] void Fail(const std::string& problem) {
  throw SemanticError("RuntimeError", "state.deserialize: " + problem);
}

void CheckPlace(const RankOfWorld& writer, const RankOfWorld& reader) {
  const auto check = [](const char* what, int64_t saved, int64_t now) {
    if (saved == now) return;
    throw SemanticError("RuntimeError",
                        fmt::format("Global {} at save time was {}, but at load time was {}", what, saved, now));
  };
  check("rank", writer.rank, reader.rank);
  check("world size", writer.world_size, reader.world_size);
}

}  // namespace

std::string ToBytes(const Value& value, const RankOfWorld& writer) {
  std::string packed;
  try {
    packed = PackValue(value);  // first: it limits the depth
  } catch (const ContractViolation& violation) {
    throw SemanticError("RuntimeError", std::string("state.serialize: ") + violation.what());
  }
  if (Holds<Handle>(value)) throw SemanticError("TypeError", "cannot serialize a handle");
  std::string bytes(kMagic);
  bytes.append(reinterpret_cast<const char*>(&writer), sizeof writer);
  return bytes + packed;
}

Value FromBytes(const std::string& bytes, const RankOfWorld& reader) {
  std::string_view rest = bytes;
  if (!rest.starts_with(kMagic)) Fail("these are no bytes of a state dict");
  rest.remove_prefix(kMagic.size());
  RankOfWorld writer;
  if (rest.size() < sizeof writer) Fail("truncated data");
  std::memcpy(&writer, rest.data(), sizeof writer);
  rest.remove_prefix(sizeof writer);
  Value value;
  try {
    value = UnpackValue(rest);
  } catch (const ContractViolation& violation) {
    Fail(violation.what());
  }
  if (Holds<Handle>(value)) Fail("a handle");
  if (Holds<ShardedTensor>(value)) CheckPlace(writer, reader);
  return value;
}

}  // namespace shardcts::reference
