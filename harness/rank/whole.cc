#include "rank/whole.h"

#include <ATen/ATen.h>

#include "contract/observed_cut.h"
#include "contract/parts.h"
#include "rank/layout.h"

namespace shardcts {
namespace {

bool IsDistributed(const Value& value) {
  return value.type() == Value::Type::kDTensor || value.type() == Value::Type::kShardedTensor;
}

// Where this rank has the tensor.
at::Device DeviceOf(const Value& value) {
  if (const DTensor* dtensor = value.TryAs<DTensor>()) return dtensor->local.device();
  const std::vector<LocalShard>& shards = value.TryAs<ShardedTensor>()->local_shards;
  return shards.empty() ? at::Device(at::kCPU) : shards.front().tensor.device();
}

Value WholeOf(const Value& value, const std::vector<Value>& of_ranks, bool as_pytorch) {
  const DTensor* dtensor = value.TryAs<DTensor>();
  const auto assemble = as_pytorch ? static_cast<at::Tensor (*)(const DTensor&, const std::vector<Value>&)>(Assemble)
                                   : AssembleObserved;
  const at::Tensor whole =
      dtensor ? assemble(*dtensor, of_ranks) : Assemble(*value.TryAs<ShardedTensor>(), of_ranks);
  return whole.to(DeviceOf(value));
}

// What each rank has at this path; none where it has nothing, or did not take part.
std::vector<Value> OfRanks(const Dict& tensors_of_rank, int world_size, const Key& path) {
  std::vector<Value> of_ranks(static_cast<size_t>(world_size));
  for (const auto& [rank, tensors] : tensors_of_rank) {
    const Value* value = tensors.AsDict().Find(path);
    if (value) of_ranks.at(static_cast<size_t>(std::get<int64_t>(rank))) = *value;
  }
  return of_ranks;
}

Value Replaced(const std::string& path, const Value& tree, const Dict& replacements) {
  if (IsDistributed(tree)) return replacements.At(path);
  if (const List* list = tree.TryAs<List>()) {
    List replaced;
    for (const Value& item : *list) {
      replaced.push_back(Replaced(path + "[" + std::to_string(replaced.size()) + "]", item, replacements));
    }
    return replaced;
  }
  const Dict* dict = tree.TryAs<Dict>();
  if (!dict) return tree;
  Dict replaced;
  for (const auto& [key, value] : *dict) replaced.Set(key, Replaced(path + "/" + ToString(key), value, replacements));
  return replaced;
}

}  // namespace

bool IsTensor(const Value& value) { return value.type() == Value::Type::kTensor || IsDistributed(value); }

void ForEachTensor(const std::string& path, const Value& tree,
                   const std::function<void(const std::string& path, const Value& tensor)>& visit) {
  if (IsTensor(tree)) return visit(path, tree);
  if (const List* list = tree.TryAs<List>()) {
    for (size_t i = 0; i < list->size(); ++i) ForEachTensor(path + "[" + std::to_string(i) + "]", (*list)[i], visit);
  }
  if (const Dict* dict = tree.TryAs<Dict>()) {
    for (const auto& [key, value] : *dict) ForEachTensor(path + "/" + ToString(key), value, visit);
  }
}

Value Whole(Trial& t, const Value& tree) {
  Dict distributed;
  ForEachTensor("", tree, [&](const std::string& path, const Value& tensor) {
    if (IsDistributed(tensor)) distributed.Set(path, tensor);
  });
  if (distributed.empty()) return tree;
  Dict tensors_of_rank;  // of the participating ranks: all, or the subgroup of Trial::Among
  for (const Value& own : t.AllGather(List{t.rank(), distributed})) {
    tensors_of_rank.Set(own.AsList()[0].AsInt(), own.AsList()[1]);
  }
  for (Dict::Entry& entry : distributed) {
    try {
      entry.value = WholeOf(entry.value, OfRanks(tensors_of_rank, t.world_size(), entry.key), HasPytorchLayout(t));
    } catch (const ContractViolation& violation) {
      const std::string path = ToString(entry.key);  // empty: the tree is the tensor
      t.Fail((path.empty() ? path : path.substr(1) + ": ") + "no whole tensor: " + violation.what());
    }
  }
  return Replaced("", tree, distributed);
}

Dict WholeDict(Trial& t, const Dict& tree) { return Whole(t, tree).AsDict(); }

}  // namespace shardcts
