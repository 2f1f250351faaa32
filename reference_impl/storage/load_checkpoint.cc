#include <ATen/ATen.h>
#include <ATen/MemoryOverlap.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "contract/tensor_bytes.h"
#include "storage/checkpoint.h"
#include "storage/dcp_checkpoint.h"
#include "storage/dcp_metadata.h"
#include "storage/dtype_fit.h"
#include "storage/foreign_safetensors.h"
#include "storage/inspect_checkpoint.h"
#include "storage/quantized.h"
#include "storage/read_chunks.h"
#include "storage/read_manifest.h"
#include "storage/together.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr int64_t kMaxManifestBytes = int64_t{4} << 30;

[[noreturn]] void Fail(const std::string& name, const std::string& problem) {
  throw SemanticError("RuntimeError", "\"" + name + "\": " + problem);
}

// Where one saved tensor goes.
struct Destination {
  std::string name;
  const SavedTensor* saved;
  std::vector<Piece> pieces;
};

// `scaled`: what is loaded are the products of the saved elements and factors, floats of any type.
void CheckFits(const std::string& name, const SavedTensor& saved, const HeldTensor& held, bool scaled) {
  if (saved.shape != held.shape) {
    throw SemanticError("ValueError", "\"" + name + "\": the saved tensor is " + ShapeToString(saved.shape) +
                                          ", the given one " + ShapeToString(held.shape));
  }
  if (scaled ? !c10::isFloatingType(held.dtype) : !FitsInto(saved.dtype, held.dtype)) {
    Fail(name, "the saved " + DtypeName(saved.dtype) + " does not fit into " + DtypeName(held.dtype));
  }
  for (const Piece& piece : held.pieces) {
    if (piece.tensor.numel() > 1 && at::has_internal_overlap(piece.tensor) == at::MemOverlap::Yes) {
      Fail(name, "the given tensor has elements that share memory");
    }
  }
}

// What a load does on one rank, once it is known to be possible.
struct LoadPlan {
  Manifest manifest;
  std::vector<Destination> tensors;
  std::vector<std::pair<Path, const SavedValue*>> values;
};

// A dict without entries, of which a checkpoint need not have anything.
bool IsEmptyDict(const Value& value) {
  const auto* dict = value.TryAs<Dict>();
  return dict && dict->empty();
}

void PlanEntry(LoadPlan& plan, const FlatEntry& entry, int64_t rank, bool partial, bool scaled) {
  const auto tensor = plan.manifest.tensors.find(entry.name);
  const auto value = plan.manifest.values.find(entry.name);
  const bool is_tensor = tensor != plan.manifest.tensors.end();
  if (!is_tensor && value == plan.manifest.values.end()) {
    if (!partial && !IsEmptyDict(entry.value)) Fail(entry.name, "the checkpoint has no such name");
    return;
  }
  if (is_tensor != IsTensorValue(entry.value)) {
    Fail(entry.name, is_tensor ? "is a tensor in the checkpoint, the given one is none"
                               : "is no tensor in the checkpoint, the given one is");
  }
  if (!is_tensor) return plan.values.emplace_back(entry.path, &value->second), void();
  HeldTensor held;
  try {
    held = HeldBy(rank, entry.value);
  } catch (const SemanticError& error) {
    Fail(entry.name, error.what());
  }
  CheckFits(entry.name, tensor->second, held, scaled && !FactorsOf(plan.manifest, entry.name).empty());
  plan.tensors.push_back({entry.name, &tensor->second, std::move(held.pieces)});
}

const Path& PathOf(const Manifest& manifest, const std::string& name) {
  const auto tensor = manifest.tensors.find(name);
  return tensor == manifest.tensors.end() ? manifest.values.at(name).path : tensor->second.path;
}

// The names that are a key, or are in a dict or list that is one.
std::vector<std::string> SelectedNames(const Manifest& manifest, const std::optional<std::vector<std::string>>& keys) {
  if (!keys) return manifest.order;
  const std::set<std::string> wanted(keys->begin(), keys->end());
  std::set<std::string> unseen = wanted;
  std::vector<std::string> names;
  for (const std::string& name : manifest.order) {
    const Path& path = PathOf(manifest, name);
    bool is_selected = false;
    for (size_t length = 1; length <= path.size(); ++length) {
      const std::string around = NameOf(Path(path.begin(), path.begin() + static_cast<std::ptrdiff_t>(length)));
      is_selected = is_selected || wanted.contains(around);
      unseen.erase(around);
    }
    if (is_selected) names.push_back(name);
  }
  if (!unseen.empty()) Fail(*unseen.begin(), "the checkpoint has no such name");
  return names;
}

// A tensor with memory in the place of one on the meta device, for each that the checkpoint has.
void GiveMemory(const Manifest& manifest, Dict& state_dict) {
  for (FlatEntry& entry : Flatten(state_dict)) {
    if (!manifest.tensors.contains(entry.name)) continue;
    const auto materialized = [](const at::Tensor& tensor) {
      return at::empty_like(tensor, tensor.options().device(at::kCPU)).requires_grad_(tensor.requires_grad());
    };
    if (auto* distributed = entry.value.TryAs<shardcts::DTensor>(); distributed && distributed->local.is_meta()) {
      distributed->local = materialized(distributed->local);
    } else if (auto* plain = entry.value.TryAs<Tensor>(); plain && plain->data.is_meta()) {
      plain->data = materialized(plain->data);
    } else {
      continue;
    }
    SetAt(state_dict, entry.path, entry.value);
  }
}

// The names of the checkpoint that the state dict lacks, in ascending order. `quantized`: nor those of factors.
std::vector<std::string> LeftOut(const Manifest& manifest, const Dict& state_dict, bool quantized) {
  std::set<std::string> names(manifest.order.begin(), manifest.order.end());
  for (const FlatEntry& entry : Flatten(state_dict)) {
    names.erase(entry.name);
    if (quantized) names.erase(FactorsOf(manifest, entry.name));
  }
  return {names.begin(), names.end()};
}

// Of what each rank says: [save, names that it leaves out].
std::vector<std::string> LeftOutByAll(const std::vector<Value>& said) {
  std::vector<std::string> common = said.front().AsList().at(1).AsStrings();
  for (const Value& one : said) {
    const std::vector<std::string> more = one.AsList().at(1).AsStrings();
    std::vector<std::string> both;
    std::ranges::set_intersection(common, more, std::back_inserter(both));
    common = std::move(both);
  }
  return common;
}

}  // namespace

CheckpointFormat FormatOf(Files& files, const std::string& path) {
  if (files.Exists(path + "/" + kManifestName)) return CheckpointFormat::kOwn;
  return files.Exists(path + "/" + kDcpMetadataName) ? CheckpointFormat::kDcp : CheckpointFormat::kSafetensors;
}

bool HasCheckpoint(Files& files, const std::string& path) {
  return FormatOf(files, path) != CheckpointFormat::kSafetensors || !SafetensorsIn(files, path).empty();
}

Manifest ReadManifest(Files& files, const std::string& path) {
  Complaints complaints(Complaints::Kind::kThrow);
  return ReadManifest(files, path, complaints);
}

Manifest ReadManifest(Files& files, const std::string& path, Complaints& complaints) {
  const CheckpointFormat format = FormatOf(files, path);
  if (format == CheckpointFormat::kDcp) return ManifestOfDcp(files, path, complaints);
  if (format == CheckpointFormat::kSafetensors) return ManifestOfSafetensors(files, path, complaints);
  const std::string file = path + "/" + kManifestName;
  Manifest manifest = ManifestFrom(ReadText(files, file, kMaxManifestBytes), file, complaints);
  manifest.identity = manifest.folder;
  return manifest;
}

LoadedCheckpoint LoadCheckpoint(Communicator& group, Files& files, const Dict& state_dict, const std::string& path,
                                bool partial, const AtStep& at_step, int64_t block_size) {
  const auto at = [&](StorageStep step) {
    if (at_step) at_step(step);
  };
  const int64_t rank = group.global_ranks()[static_cast<size_t>(group.rank())];
  LoadPlan plan;
  Dict loaded = state_dict;
  std::optional<SavedFiles> saved_files;
  const std::vector<Value> saves = Together(group, [&]() -> Value {
    at(StorageStep::kReadManifest);
    plan.manifest = ReadManifest(files, path);
    at(StorageStep::kSetUp);
    at(StorageStep::kLocalPlan);
    at(StorageStep::kGlobalPlan);
    saved_files.emplace(files, path, plan.manifest);
    GiveMemory(plan.manifest, loaded);
    for (const FlatEntry& entry : Flatten(loaded)) PlanEntry(plan, entry, rank, partial, block_size > 0);
    for (const Destination& one : plan.tensors) {
      for (const SavedChunk* chunk : NeededChunks(*one.saved, one.pieces)) CheckDigest(*saved_files, one.name, *chunk);
    }
    return List{plan.manifest.identity, ToValue(LeftOut(plan.manifest, loaded, block_size > 0))};
  });
  Together(group, [&]() -> Value {
    at(StorageStep::kRead);
    for (const Value& save : saves) {
      if (save.AsList().at(0).AsString() != plan.manifest.identity) {
        throw SemanticError("RuntimeError", path + ": another save has replaced the checkpoint while it was read");
      }
    }
    for (const Destination& one : plan.tensors) {
      if (block_size > 0 && !FactorsOf(plan.manifest, one.name).empty()) {
        ReadQuantizedInto(*saved_files, plan.manifest, one.name, block_size, one.pieces);
      } else {
        ReadInto(*saved_files, *one.saved, one.pieces);
      }
    }
    for (const auto& [value_path, saved] : plan.values) SetAt(loaded, value_path, saved->value);
    return {};
  });
  return {loaded, LeftOutByAll(saves)};
}

Dict ReadCheckpoint(Files& files, const std::string& path, const std::optional<std::vector<std::string>>& keys) {
  std::vector<FlatEntry> entries;
  Alone([&] {
    const Manifest manifest = ReadManifest(files, path);
    SavedFiles saved_files(files, path, manifest);
    for (const std::string& name : SelectedNames(manifest, keys)) {
      const auto tensor = manifest.tensors.find(name);
      if (tensor == manifest.tensors.end()) {
        const SavedValue& saved = manifest.values.at(name);
        entries.push_back({name, saved.path, saved.value});
      } else {
        entries.push_back({name, tensor->second.path, ReadWholeTensor(saved_files, name, tensor->second)});
      }
    }
  });
  Dict state;
  Alone([&] { state = Unflatten(entries); });
  return state;
}

std::vector<std::string> VerifyCheckpoint(Files& files, const std::string& path) {
  return InspectCheckpoint(files, path, /*with_data=*/true).problems;
}

}  // namespace shardcts::reference
