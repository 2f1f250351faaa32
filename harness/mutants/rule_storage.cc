// Mutants of the rules of the suite storage: what goes wrong between tensors, names, ranks and files.
#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "contract/parts.h"
#include "contract/tensor_bytes.h"
#include "mutants/checkpoints.h"
#include "mutants/rule_durable.h"
#include "mutants/rule_hostile.h"

namespace shardcts {
namespace {

std::string PathIn(const Dict& arguments) { return arguments.At("path").AsString(); }

std::ofstream NewFileIn(const Dict& arguments, const std::string& name) {
  return std::ofstream(PathIn(arguments) + "/" + name, std::ios::binary);
}

void WriteReplicas(MutantState& state, Dict& arguments) {
  std::ofstream file = NewFileIn(arguments, "replicas-of-" + std::to_string(state.context.rank));
  ForEachLocal(*arguments.Find("state_dict"), [&](at::Tensor& local) { file << TensorBytes(local); });
}

void WriteWholeStorages(MutantState&, Dict& arguments) {
  std::ofstream file = NewFileIn(arguments, "storages");
  ForEachLocal(*arguments.Find("state_dict"), [&](at::Tensor& local) {
    file << std::string(static_cast<const char*>(local.storage().data()), local.storage().nbytes());
  });
}

void MapIntoFiles(MutantState&, const Dict& arguments, Value& read) {
  int number = 0;
  ForEachLocal(read, [&](at::Tensor& local) {
    if (local.numel() == 0) return;
    const std::string name = "mapped-" + std::to_string(number++);
    NewFileIn(arguments, name) << TensorBytes(local);
    local = at::from_file(PathIn(arguments) + "/" + name, /*shared=*/true, local.numel(), local.scalar_type())
                .reshape(local.sizes());
  });
}

// Of two mesh dimensions the second is taken for the first.
void SwapMeshDims(MutantState& state, const Dict& arguments, Value& loaded) {
  const Value whole = state.Require("storage.read", {{"path", arguments.At("path")}});
  for (auto& [name, value] : loaded.AsDict()) {
    DTensor* tensor = value.TryAs<DTensor>();
    if (!tensor || tensor->placements.size() != 2) continue;
    std::vector<Placement> swapped = tensor->placements;
    std::ranges::reverse(swapped);
    const at::Tensor part = LocalSlice(whole.AsDict().At(name).AsTensor(), tensor->mesh, swapped, state.context.rank);
    if (part.sizes() == tensor->local.sizes()) tensor->local.copy_(part);
  }
}

void DropStride(MutantState&, Dict&, Dict& saved) {
  for (auto& [name, value] : saved) {
    DTensor* tensor = value.TryAs<DTensor>();
    if (!tensor) continue;
    for (Placement& placement : tensor->placements) {
      if (placement.kind == Placement::Kind::kStridedShard) placement = Placement::Shard(placement.dim);
    }
  }
}

Outcome RefuseEmptyShards(MutantState& state, std::string_view operation, Dict& arguments) {
  bool has_empty = false;
  if (operation == "storage.load") {
    ForEachLocal(*arguments.Find("state_dict"), [&](at::Tensor& local) {
      has_empty = has_empty || (local.dim() > 0 && local.size(0) == 0);
    });
  }
  Outcome outcome = state.inner.Invoke(operation, arguments);
  return has_empty ? Outcome(Error{"CheckpointException", "an empty shard"}) : outcome;
}

// A plain tensor gets the rows that this rank would have of a sharded one.
void LoadOwnRowsOnly(MutantState& state, const Dict&, Value& loaded) {
  ForEachLeaf(loaded, [&](Value& value) {
    Tensor* plain = value.TryAs<Tensor>();
    if (!plain || plain->data.dim() < 2) return;
    const int64_t rows = plain->data.size(0), own = rows / state.context.world_size + 1;
    plain->data.slice(0, std::min((state.context.rank + 1) * own, rows)).fill_(0);
  });
}

void AddZeros(MutantState&, Dict&, Dict& saved) {
  Value tree = saved;
  ForEachLocal(tree, [](at::Tensor& local) {
    if (local.is_floating_point() && local.element_size() > 1) local = local + at::zeros_like(local);
  });
  saved = tree.AsDict();
}

// 16-bit values are moved as pairs.
void LoseOddHalves(MutantState&, Dict&, Dict& saved) {
  Value tree = saved;
  ForEachLocal(tree, [](at::Tensor& local) {
    if (local.element_size() != 2 || local.numel() % 2 == 0) return;
    local = local.clone(at::MemoryFormat::Contiguous);
    local.view({-1}).narrow(0, local.numel() - 1, 1).fill_(0);
  });
  saved = tree.AsDict();
}

Dict WithoutSlashes(const Dict& names) {
  Dict replaced;
  for (const auto& [name, value] : names) {
    std::string text = ToString(name);
    std::ranges::replace(text, '/', '.');
    replaced.Set(text, value);
  }
  return replaced;
}

Outcome SanitizeNames(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation != "storage.save" && operation != "storage.load") return state.inner.Invoke(operation, arguments);
  const Dict given = arguments.At("state_dict").AsDict();
  arguments.Set("state_dict", WithoutSlashes(given));
  Outcome outcome = state.inner.Invoke(operation, arguments);
  // The tensors have been filled in place.
  return outcome.ok() && operation == "storage.load" ? Outcome(Value(Dict{{"state_dict", given}})) : outcome;
}

void LastNameWins(MutantState&, Dict&, Dict& saved) {
  saved.Erase(std::string("a.b"));
  saved.Erase(std::string("a.0"));
}

void ListsAreDicts(Value& tree) {
  if (auto* dict = tree.TryAs<Dict>()) {
    for (auto& [key, value] : *dict) ListsAreDicts(value);
  } else if (auto* list = tree.TryAs<List>(); list && std::ranges::any_of(*list, [](Value& item) { return LocalOf(item); })) {
    Dict numbered;
    for (size_t i = 0; i < list->size(); ++i) numbered.Set(static_cast<int64_t>(i), (*list)[i]);
    tree = numbered;
  }
}

void DotsAreDicts(Value& read) {
  Dict nested;
  for (const auto& [key, value] : read.AsDict()) {
    const std::string name = ToString(key);
    const size_t dot = name.find('.');
    Value* outer = dot == std::string::npos ? nullptr : nested.Find(name.substr(0, dot));
    if (outer && outer->TryAs<Dict>()) {
      outer->TryAs<Dict>()->Set(name.substr(dot + 1), value);
    } else {
      nested.Set(key, value);
    }
  }
  read = nested;
}

// One entry after the other, until one is refused.
Outcome LoadOneByOne(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation != "storage.load") return state.inner.Invoke(operation, arguments);
  Dict loaded;
  for (const auto& [name, value] : arguments.At("state_dict").AsDict()) {
    Dict one = arguments;
    one.Set("state_dict", Dict{{name, value}});
    Outcome outcome = state.inner.Invoke(operation, one);
    if (!outcome.ok()) return outcome;
    for (const auto& [key, entry] : outcome.value().AsDict().At("state_dict").AsDict()) loaded.Set(key, entry);
  }
  return Value(Dict{{"state_dict", loaded}});
}

void FillMissing(MutantState& state, const Dict& arguments, Value& loaded) {
  const Value keys = state.Require("storage.describe", {{"path", arguments.At("path")}}).AsDict().At("keys");
  for (auto& [name, value] : loaded.AsDict()) {
    at::Tensor* local = LocalOf(value);
    if (local && !keys.AsDict().Contains(name)) local->fill_(0);
  }
}

void PlainOnRank0Only(MutantState& state, Dict&, Dict& saved) {
  if (state.context.rank == 0) return;
  Dict kept;
  for (const auto& [name, value] : saved) {
    if (value.type() == Value::Type::kDTensor) kept.Set(name, value);
  }
  saved = kept;
}

bool IsOfOthers(MutantState& state, const Dict&, const Error& error) {
  return error.message.find("rank " + std::to_string(state.context.rank) + ":") == std::string::npos;
}

bool IsThere(MutantState& state, const Dict& arguments, const Error&) {
  return state.Require("storage.describe", {{"path", arguments.At("path")}}).AsDict().At("complete").AsBool();
}

// What an earlier save has and this one lacks is saved again.
void KeepEarlierNames(MutantState& state, Dict& arguments, Dict& saved) {
  const Dict path{{"path", arguments.At("path")}};
  if (!state.Require("storage.describe", path).AsDict().At("complete").AsBool()) return;
  for (const auto& [name, value] : state.Require("storage.read", path).AsDict()) {
    if (!saved.Contains(name)) saved.Set(name, value);
  }
}

Outcome RefuseForeignFiles(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation != "storage.load" || !outcome.ok()) return outcome;
  for (const auto& entry : std::filesystem::directory_iterator(PathIn(arguments))) {
    if (entry.path().extension() == ".txt") return Error{"CheckpointException", "a file that does not belong here"};
  }
  return outcome;
}

Outcome LoseMessages(MutantState& state, std::string_view operation, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(operation, arguments);
  if (operation != "storage.load" || outcome.ok()) return outcome;
  return Error{outcome.error().kind, "a file cannot be read"};
}

void PartialIsReplicated(MutantState&, Dict&, Dict& saved) {
  for (auto& [name, value] : saved) {
    DTensor* tensor = value.TryAs<DTensor>();
    if (!tensor) continue;
    for (Placement& placement : tensor->placements) {
      if (placement.kind == Placement::Kind::kPartial) placement = Placement::Replicate();
    }
  }
}

// The i-th value of every rank under the i-th name in ascending order.
void MatchByPosition(MutantState&, Dict&, Dict& saved) {
  std::vector<std::string> names = saved.Keys();
  std::ranges::sort(names);
  Dict matched;
  size_t next = 0;
  for (const auto& [name, value] : saved) matched.Set(names[next++], value);
  saved = matched;
}

void WriteFileForEach(MutantState& state, Dict& arguments) {
  int number = 0;
  ForEachLocal(*arguments.Find("state_dict"), [&](at::Tensor&) {
    NewFileIn(arguments, "tensor-" + std::to_string(state.context.rank) + "-" + std::to_string(number++)) << "x";
  });
}

Mutation OnLoadedOptimizer(std::function<void(Value&)> change) {
  return OnLoadedDict([=](MutantState&, const Dict&, Value& loaded) {
    if (Value* optimizer = loaded.AsDict().Find("optimizer")) ForEachLeaf(*optimizer, change);
  });
}

std::vector<MutantRow> HardenedRows() {
  return {
      StorageRule("HX3", "storage_short_files_accepted", "a file that is short is not an error",
                  "a truncated shard read as what was there", Swallow("storage.load", MessageHas("bytes"))),
      StorageRule("HX4", "storage_digests_ignored", "bytes that have changed are not an error", "a digest nobody compares",
                  Swallow("storage.load", MessageHas("are not those that were saved"))),
      StorageRule("HX10", "storage_foreign_files_refused", "a text beside the files of a checkpoint ends a load",
                  "every file of a folder taken for a shard", RefuseForeignFiles),
      StorageRule("IO7", "storage_errors_without_files", "errors of a load name no file", "what() of the innermost library",
                  LoseMessages),
      StorageRule("RK3", "storage_first_rank_wins", "of ranks that contradict each other the first one's tensor is saved",
                  "deduplication by name", OnSavedDict(PlainOnRank0Only), 2),
      StorageRule("CR9", "storage_earlier_names_stay", "names of an earlier save in the folder stay", "stale shards are read",
                  OnSavedDict(KeepEarlierNames), 4),
      StorageRule("LD5", "storage_loads_until_an_error", "a load fills what comes before the entry that it cannot read",
                  "errors while loading", LoadOneByOne),
      StorageRule("SC4", "storage_file_for_each_tensor", "each tensor has a file of its own", "many small files",
                  After("storage.save", WriteFileForEach)),
  };
}

std::vector<MutantRow> ValueRows() {
  return {
      StorageRule("DT5", "storage_lossy_casts_accepted", "a load that loses digits is not an error", "copy_ casts",
                  Swallow("storage.load", MessageHas("does not fit"))),
      StorageRule("DT8", "storage_bools_become_ints", "true and false are saved as 1 and 0", "types of values are lost",
                  OnSavedDict([](MutantState&, Dict&, Dict& saved) {
                    Value tree = saved;
                    ForEachLeaf(tree, [](Value& value) {
                      if (const bool* flag = value.TryAs<bool>()) value = static_cast<int64_t>(*flag);
                    });
                    saved = tree.AsDict();
                  })),
      StorageRule("RS10", "storage_partial_is_replicated", "one rank's summand is saved for a partial value",
                  "placements are not looked at", OnSavedDict(PartialIsReplicated), 2),
      StorageRule("NM6", "storage_names_by_position", "values of all ranks are matched by position", "keys in another order",
                  OnSavedDict(MatchByPosition), 2),
      StorageRule("RT5", "storage_moments_lost", "moments are zeros after a load", "state made anew instead of loaded",
                  OnLoadedOptimizer([](Value& value) {
                    at::Tensor* local = LocalOf(value);
                    if (local && local->dim() > 0) local->fill_(0);
                  })),
      StorageRule("OM1", "storage_options_lost", "options of groups have other values after a load",
                  "options of the loading optimizer stay", OnLoadedOptimizer([](Value& value) {
                    if (value.TryAs<double>()) value = 0.5;
                  })),
  };
}

std::vector<MutantRow> RoundTripRows() {
  return {
      StorageRule("RT1", "storage_rows_rolled", "a load rolls the elements of each shard by one", "off by one in a copy",
                  OnLoadedDict([](MutantState&, const Dict&, Value& loaded) {
                    ForEachLocal(loaded, [](at::Tensor& local) { local.detach().copy_(at::roll(local.detach(), 1)); });
                  })),
      StorageRule("RT2", "storage_save_changes_values", "a save adds one to what it saves, afterwards",
                  "staging in the caller's memory", After("storage.save", [](MutantState&, Dict& arguments) {
                    ForEachLocal(*arguments.Find("state_dict"), [](at::Tensor& local) { local.detach().add_(1); });
                  })),
      StorageRule("RT3", "storage_load_replaces", "a load returns new tensors, and leaves the given ones alone",
                  "replaced instead of filled", OnArguments("storage.load", [](MutantState&, Dict& arguments) {
                    ForEachLocal(*arguments.Find("state_dict"), [](at::Tensor& local) { local = local.detach().clone(); });
                  })),
      StorageRule("RT4", "storage_load_writes", "a load leaves a file in the folder", "a lock or a log beside the data",
                  After("storage.load", [](MutantState&, Dict& arguments) { NewFileIn(arguments, "loaded") << "x"; })),
      StorageRule("RT6", "storage_read_maps_files", "what is read is a mapping of a file", "mmap without a copy",
                  OnReadDict(MapIntoFiles)),
      StorageRule("RS2", "storage_empty_shards_refused", "a load into an empty shard is an error",
                  "special case of fewer rows than ranks", RefuseEmptyShards, 3),
      StorageRule("RS3", "storage_mesh_dims_swapped", "placements of two mesh dimensions are swapped by a load",
                  "row-major and column-major meshes", OnLoadedDict(SwapMeshDims), 4),
      StorageRule("RS4", "storage_stride_dropped", "strided shards are saved as plain ones", "chunk offset ignores the stride",
                  OnSavedDict(DropStride), 4),
      StorageRule("RS6", "storage_plain_gets_own_rows", "a plain tensor gets the first rows only",
                  "every destination taken for a shard", OnLoadedDict(LoadOwnRowsOnly), 2),
  };
}

std::vector<MutantRow> ContentRows() {
  return {
      StorageRule("DT1", "storage_saved_added_to_zeros", "what is saved is added to zeros", "gathering by a sum",
                  OnSavedDict(AddZeros)),
      StorageRule("DT1", "storage_odd_halves_lost", "of 16-bit values in odd number the last is saved as 0",
                  "values moved as words of 32 bits", OnSavedDict(LoseOddHalves)),
      StorageRule("DT2", "storage_numbers_become_vectors", "a tensor without dimensions is read with one", "0-dim lost",
                  OnReadDict([](MutantState&, const Dict&, Value& read) {
                    ForEachLocal(read, [](at::Tensor& local) { local = local.dim() == 0 ? local.reshape({1}) : local; });
                  })),
      StorageRule("DT3", "storage_whole_storages_saved", "the storage of a view is saved with it",
                  "views save the whole storage", After("storage.save", WriteWholeStorages)),
      StorageRule("DT6", "storage_loads_one_by_one", "a load fills entries up to the one that it refuses",
                  "checks while loading", LoadOneByOne),
      StorageRule("NM1", "storage_slashes_are_dots", "a slash in a name becomes a dot", "names made fit for files",
                  SanitizeNames),
      StorageRule("NM2", "storage_last_name_wins", "of two paths with one flat name the last is saved",
                  "flat names overwrite each other", OnSavedDict(LastNameWins)),
      StorageRule("NM3", "storage_lists_become_dicts", "a list of tensors is loaded as a dict of indices",
                  "structure rebuilt from flat names",
                  OnLoadedDict([](MutantState&, const Dict&, Value& loaded) { ListsAreDicts(loaded); })),
      StorageRule("NM3", "storage_dots_are_dicts", "a name with a dot is read as an element of the dict before the dot",
                  "structure rebuilt from flat names",
                  OnReadDict([](MutantState&, const Dict&, Value& read) { DotsAreDicts(read); })),
      StorageRule("LD1", "storage_missing_accepted", "names that are missing are left as they are", "strict is ignored",
                  OnArguments("storage.load", [](MutantState&, Dict& arguments) { arguments.Set("partial", true); })),
      StorageRule("LD2", "storage_missing_zeroed", "names that are missing become zeros", "memory prepared for nothing",
                  OnLoadedDict(FillMissing)),
      StorageRule("LD4", "storage_keys_ignored", "a read of some names reads all", "the filter is ignored",
                  OnArguments("storage.read", [](MutantState&, Dict& arguments) { arguments.Erase(std::string("keys")); })),
  };
}

std::vector<MutantRow> RankRows() {
  return {
      StorageRule("RK1", "storage_replicas_stored", "every rank stores what it has", "no deduplication",
                  After("storage.save", WriteReplicas), 2),
      StorageRule("RK5", "storage_plain_from_rank_0", "plain tensors and values are saved from rank 0 only",
                  "other ranks' keys are dropped", OnSavedDict(PlainOnRank0Only), 2),
      StorageRule("RK8", "storage_errors_of_others_hidden", "an error of another rank is not told",
                  "one rank's error kept to itself", Swallow("storage.save", IsOfOthers), 2),
      StorageRule("CR8", "storage_overwrite_ignored", "overwrite=false is ignored", "an option that nobody reads",
                  OnArguments("storage.save",
                              [](MutantState&, Dict& arguments) { arguments.Erase(std::string("overwrite")); })),
      StorageRule("IO4", "storage_read_errors_hidden", "an error of a load from a complete checkpoint is not told",
                  "a reader's error is lost", Swallow("storage.load", IsThere)),
      StorageRule("IO5", "storage_save_errors_hidden", "an error of a save is not told", "a writer's error is lost",
                  Swallow("storage.save", [](MutantState&, const Dict&, const Error&) { return true; })),
  };
}

}  // namespace

std::vector<MutantRow> StorageRuleMutants() {
  std::vector<MutantRow> rows = RoundTripRows();
  for (const auto& more : {StorageReshardingMutants(), StorageEntryMutants(), StorageLossMutants(),
                           StorageCostMutants(), CheckpointPortMutants(), StorageBackgroundMutants(),
                           StorageDurableMutants(), StorageHostileMutants(), ContentRows(), RankRows(),
                           HardenedRows(), ValueRows()}) {
    rows.insert(rows.end(), more.begin(), more.end());
  }
  return rows;
}

}  // namespace shardcts
