// Flat names: a nested state dict as a list of entries, and back. All functions are *Local*.
// Semantics: torch.distributed.checkpoint._nested_dict and _traverse.
#pragma once

#include <string>
#include <vector>

#include "contract/value.h"

namespace shardcts::reference {

// One step from a container to a value in it.
struct PathStep {
  Key key;
  bool is_index = false;  // of a list
  bool operator==(const PathStep&) const = default;
};
using Path = std::vector<PathStep>;

struct FlatEntry {
  std::string name;  // NameOf the path
  Path path;
  Value value;  // a tensor of any kind, or a plain value
};

// The path, joined with dots.
std::string NameOf(const Path& path);

// A plain, distributed or sharded tensor.
bool IsTensorValue(const Value& value);

// Dicts are flattened, those without entries are plain values; lists where tensors or dicts are in them.
// ValueError: two paths with one name, naming both. TypeError: a handle.
std::vector<FlatEntry> Flatten(const Dict& state_dict);

// The nested dict with these entries, whose lists have the elements in the order of the entries.
Dict Unflatten(const std::vector<FlatEntry>& entries);

// Replaces the value at the path, which Flatten has given for the same dict.
void SetAt(Dict& state_dict, const Path& path, Value value);

}  // namespace shardcts::reference
