#include "fsdp_optim/state_entries.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>

namespace shardcts::reference {
namespace {

using Storages = std::set<const c10::StorageImpl*>;

void AddStorages(const Value& value, Storages& storages) {
  const auto add = [&](const at::Tensor& tensor) { storages.insert(tensor.storage().unsafeGetStorageImpl()); };
  if (const auto* tensor = value.TryAs<Tensor>()) add(tensor->data);
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) add(distributed->local);
  if (const auto* sharded = value.TryAs<ShardedTensor>()) {
    for (const LocalShard& shard : sharded->local_shards) add(shard.tensor);
  }
  if (const auto* list = value.TryAs<List>()) {
    for (const Value& entry : *list) AddStorages(entry, storages);
  }
  if (const auto* dict = value.TryAs<Dict>()) {
    for (const auto& [key, entry] : *dict) AddStorages(entry, storages);
  }
}

// What a tensor that is met again becomes; nullptr: a copy of its own.
using Copies = std::map<const c10::TensorImpl*, at::Tensor>;

Value CopyWhereIn(const Storages& storages, const Value& value, Copies* copies) {
  const auto copied = [&](const at::Tensor& tensor) {
    if (!storages.contains(tensor.storage().unsafeGetStorageImpl())) return tensor;
    if (!copies) return tensor.detach().clone();
    at::Tensor& copy = (*copies)[tensor.unsafeGetTensorImpl()];
    if (!copy.defined()) copy = tensor.detach().clone();
    return copy;
  };
  if (const auto* tensor = value.TryAs<Tensor>()) return Tensor{copied(tensor->data), tensor->is_parameter};
  if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
    shardcts::DTensor changed = *distributed;
    changed.local = copied(changed.local);
    return changed;
  }
  if (const auto* sharded = value.TryAs<ShardedTensor>()) {
    ShardedTensor changed = *sharded;
    for (LocalShard& shard : changed.local_shards) shard.tensor = copied(shard.tensor);
    return changed;
  }
  if (const auto* list = value.TryAs<List>()) {
    List entries;
    for (const Value& entry : *list) entries.push_back(CopyWhereIn(storages, entry, copies));
    return entries;
  }
  if (const auto* dict = value.TryAs<Dict>()) {
    Dict entries;
    for (const auto& [key, entry] : *dict) entries.Set(key, CopyWhereIn(storages, entry, copies));
    return entries;
  }
  return value;
}

}  // namespace

bool IsTensorWithDims(const Value& value) {
  const auto* tensor = value.TryAs<Tensor>();
  return tensor && tensor->data.dim() > 0;
}

bool IsTensorWithoutDims(const Value& value) {
  const auto* tensor = value.TryAs<Tensor>();
  return tensor && tensor->data.dim() == 0;
}

std::vector<Dict::Entry> SortedEntries(const Dict& state) {
  std::vector<Dict::Entry> entries(state.begin(), state.end());
  std::ranges::sort(entries, {}, &Dict::Entry::key);
  return entries;
}

Value WithoutStorageOf(const Value& other, const Value& value) {
  Storages storages;
  AddStorages(other, storages);
  const auto* dict = value.TryAs<Dict>();
  if (!dict || !dict->Contains("param_groups")) return CopyWhereIn(storages, value, nullptr);
  Copies of_options;
  Dict copied;
  for (const auto& [key, entry] : *dict) {
    copied.Set(key, CopyWhereIn(storages, entry, key == Key("param_groups") ? &of_options : nullptr));
  }
  return copied;
}

Dict CopiedToCpu(const Dict& state) {
  Dict copied;
  for (const auto& [name, value] : state) {
    const auto copy = [](const at::Tensor& tensor) { return tensor.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true); };
    if (const auto* tensor = value.TryAs<Tensor>()) {
      copied.Set(name, copy(tensor->data));
    } else if (const auto* distributed = value.TryAs<shardcts::DTensor>()) {
      shardcts::DTensor moved = *distributed;
      moved.local = copy(moved.local);
      copied.Set(name, std::move(moved));
    } else {
      copied.Set(name, value);
    }
  }
  return copied;
}

std::string ListText(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return "[" + text + "]";
}

}  // namespace shardcts::reference
