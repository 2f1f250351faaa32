#include "storage/flat_state.h"

#include <algorithm>
#include <map>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// Whether a list is one value.
bool IsLeafList(const List& list) {
  return std::ranges::none_of(list, [](const Value& item) {
    const List* inner = item.TryAs<List>();
    return IsTensorValue(item) || item.type() == Value::Type::kDict || (inner && !IsLeafList(*inner));
  });
}

bool HasHandle(const Value& value) {
  if (value.type() == Value::Type::kHandle) return true;
  const List* list = value.TryAs<List>();
  return list && std::ranges::any_of(*list, HasHandle);
}

std::string Quoted(const Path& path) {
  std::string text;
  for (const PathStep& step : path) text += "[" + ToString(step.key) + "]";
  return text;
}

class Flattener {
 public:
  void Visit(const Path& path, const Value& value) {
    const Dict* dict = value.TryAs<Dict>();
    const List* list = value.TryAs<List>();
    if (dict && (!dict->empty() || path.empty())) {
      for (const auto& [key, inner] : *dict) Visit(Below(path, {key, false}), inner);
    } else if (list && !IsLeafList(*list)) {
      for (size_t i = 0; i < list->size(); ++i) Visit(Below(path, {static_cast<int64_t>(i), true}), (*list)[i]);
    } else {
      Add(path, value);
    }
  }
  std::vector<FlatEntry> entries;

 private:
  static Path Below(Path path, PathStep step) {
    path.push_back(std::move(step));
    return path;
  }
  void Add(const Path& path, const Value& value) {
    const std::string name = NameOf(path);
    if (HasHandle(value)) throw SemanticError("TypeError", "\"" + name + "\": a handle cannot be stored");
    const auto [found, is_new] = paths_.emplace(name, path);
    if (!is_new) {
      throw SemanticError("ValueError", "two values have the flat name \"" + name + "\": " + Quoted(found->second) +
                                            " and " + Quoted(path));
    }
    entries.push_back({name, path, value});
  }
  std::map<std::string, Path> paths_;
};

// A container while it is put together, or a value.
struct Node {
  std::vector<PathStep> steps;
  std::vector<Node> inner;                        // where each of the steps leads
  std::map<std::pair<Key, bool>, size_t> places;  // of the steps
  const Value* value = nullptr;

  Value Finish() const {
    if (value) return *value;
    const auto is_index = [](const PathStep& step) { return step.is_index; };
    if (std::ranges::any_of(steps, is_index)) {
      if (!std::ranges::all_of(steps, is_index)) {
        throw SemanticError("ValueError", "one place is a list in some paths and a dict in others");
      }
      std::map<int64_t, const Node*> in_order;
      for (size_t i = 0; i < steps.size(); ++i) in_order[std::get<int64_t>(steps[i].key)] = &inner[i];
      List list;
      for (const auto& [index, node] : in_order) list.push_back(node->Finish());
      return list;
    }
    Dict dict;
    for (size_t i = 0; i < steps.size(); ++i) dict.Set(steps[i].key, inner[i].Finish());
    return dict;
  }
};

Value& Child(Value& container, const PathStep& step) {
  if (!step.is_index) return *container.AsDict().Find(step.key);
  return container.TryAs<List>()->at(static_cast<size_t>(std::get<int64_t>(step.key)));
}

}  // namespace

std::string NameOf(const Path& path) {
  std::string name;
  for (const PathStep& step : path) name += (&step == &path.front() ? "" : ".") + ToString(step.key);
  return name;
}

bool IsTensorValue(const Value& value) {
  return value.type() == Value::Type::kTensor || value.type() == Value::Type::kDTensor ||
         value.type() == Value::Type::kShardedTensor;
}

std::vector<FlatEntry> Flatten(const Dict& state_dict) {
  Flattener flattener;
  flattener.Visit({}, state_dict);
  return std::move(flattener.entries);
}

Dict Unflatten(const std::vector<FlatEntry>& entries) {
  Node root;
  for (const FlatEntry& entry : entries) {
    Node* node = &root;
    for (const PathStep& step : entry.path) {
      const auto [place, is_new] = node->places.emplace(std::pair(step.key, step.is_index), node->inner.size());
      if (is_new) {
        node->steps.push_back(step);
        node->inner.emplace_back();
      }
      node = &node->inner[place->second];
    }
    node->value = &entry.value;
  }
  return root.Finish().AsDict();
}

void SetAt(Dict& state_dict, const Path& path, Value value) {
  Value* place = state_dict.Find(path.front().key);
  for (size_t i = 1; i < path.size(); ++i) place = &Child(*place, path[i]);
  *place = std::move(value);
}

}  // namespace shardcts::reference
