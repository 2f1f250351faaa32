#include <algorithm>
#include <optional>
#include <utility>

#include "contract/tensor_bytes.h"
#include "operations/handlers.h"
#include "storage/checkpoint.h"
#include "storage/consolidate.h"
#include "storage/convert.h"
#include "storage/load_optimizer.h"
#include "storage/one_rank.h"
#include "storage/stage.h"
#include "storage/together.h"

namespace shardcts::reference {
namespace {

bool HasFormat(const Call& call, std::string_view name) {
  const Value* format = call.Find("format");
  return format && format->AsString() == name;
}

// What storage.fail_at has asked for, once.
AtStep TakeFault(const Call& call) {
  const std::optional<StorageFault> fault = std::exchange(call.session.storage_fault, std::nullopt);
  if (!fault) return {};
  const Communicator& world = *call.session.context.communicator;
  const int64_t rank = world.global_ranks()[static_cast<size_t>(world.rank())];
  if (std::ranges::find(fault->ranks, rank) == fault->ranks.end()) return [](StorageStep) {};
  return [step = fault->step](StorageStep at) {
    if (at == step) throw SemanticError("ValueError", "told to fail");
  };
}

// The group of a save or a load. `alone`: where it is kept if it is this rank's own.
Communicator& GroupOf(const Call& call, std::optional<OneRank>& alone) {
  if (call.Flag("distributed", true)) return call.GroupOrWorld();
  const Communicator& world = *call.session.context.communicator;
  return alone.emplace(world.global_ranks()[static_cast<size_t>(world.rank())]);
}

SaveSettings SettingsOf(const Call& call) {
  return {.path = call.Get("path").AsString(),
          .overwrite = call.Flag("overwrite", true),
          .lowest_rank = call.Flag("lowest_rank", false),
          .dcp = HasFormat(call, "dcp"),
          .tensors_only = HasFormat(call, "safetensors")};
}

void Tell(const Call& call, const std::vector<std::string>& texts) {
  for (const std::string& text : texts) call.warnings.push_back({"UserWarning", text});
}

Value SaveTo(const Call& call) {
  std::optional<OneRank> alone;
  SaveSettings settings = SettingsOf(call);
  settings.at_step = TakeFault(call);
  Tell(call, SaveCheckpoint(GroupOf(call, alone), Disk(), call.Get("state_dict").AsDict(), settings));
  return {};
}

// Of all ranks, without owning it; of a group its members own it together.
std::shared_ptr<Communicator> SharedGroup(const Call& call) {
  const Value* group = call.Find("group");
  if (group) return call.session.Group(group->AsHandle());
  return {std::shared_ptr<Communicator>(), call.session.context.communicator};
}

Value SaveInBackground(const Call& call) {
  return call.session.save_handles.Add(
      std::make_shared<AsyncSave>(SharedGroup(call), Disk(), call.Get("state_dict").AsDict(), SettingsOf(call)));
}

Value ProgressOf(const Call& call) {
  const AsyncSave& save = *call.session.save_handles.Get(call.Get("save").AsHandle());
  return Dict{{"staged", true}, {"done", save.IsWritten()}};
}

Value WaitFor(const Call& call) {
  Tell(call, call.session.save_handles.Get(call.Get("save").AsHandle())->Wait());
  return {};
}

Value Staged(const Call& call) { return StageState(call.Get("state_dict").AsDict()); }

constexpr size_t kMostNamed = 20;  // names in a warning

std::string LeftOutText(const std::vector<std::string>& names) {
  std::string text = "names of the checkpoint that no rank has asked for: ";
  for (size_t i = 0; i < std::min(names.size(), kMostNamed); ++i) text += (i ? ", \"" : "\"") + names[i] + "\"";
  if (names.size() > kMostNamed) text += " and " + std::to_string(names.size() - kMostNamed) + " more";
  return text;
}

Value LoadFrom(const Call& call) {
  const bool partial = call.Flag("partial", false);
  const Value* block_size = call.Find("block_size");
  std::optional<OneRank> alone;
  const LoadedCheckpoint loaded = LoadCheckpoint(GroupOf(call, alone), Disk(), call.Get("state_dict").AsDict(),
                                                 call.Get("path").AsString(), partial, TakeFault(call),
                                                 block_size ? block_size->AsInt() : 0);
  if (!partial && !loaded.left_out.empty()) call.warnings.push_back({"UserWarning", LeftOutText(loaded.left_out)});
  return Dict{{"state_dict", loaded.state_dict}};
}

Value ReadFrom(const Call& call) {
  const Value* keys = call.Find("keys");
  return ReadCheckpoint(Disk(), call.Get("path").AsString(), keys ? std::optional(keys->AsStrings()) : std::nullopt);
}

std::optional<std::map<std::string, int64_t>> FileNumbersOf(const Call& call) {
  const Value* numbers = call.Find("files");
  if (!numbers) return std::nullopt;
  std::map<std::string, int64_t> file_of;
  for (const auto& [name, number] : numbers->AsDict()) file_of[ToString(name)] = number.AsInt();
  return file_of;
}

Value ConsolidateAt(const Call& call) {
  ConsolidateCheckpoint(Disk(), call.Get("path").AsString(), call.Get("target").AsString(), FileNumbersOf(call));
  return {};
}

Value ConsolidateOnEveryRank(const Call& call) {
  ConsolidateTogether(*call.session.context.communicator, Disk(), call.Get("path").AsString(),
                      call.Get("target").AsString(), FileNumbersOf(call));
  return {};
}

Value LoadOptimizer(const Call& call) {
  return LoadOptimizerState(*call.session.context.communicator, Disk(), call.Get("model_state").AsDict(),
                            call.Get("key").AsString(), call.Get("path").AsString());
}

Value BoxValue(const Box& box) { return Dict{{"offsets", ToValue(box.offsets)}, {"sizes", ToValue(box.sizes)}}; }

Value EntryValue(const SavedTensor& tensor) {
  List chunks;
  for (const SavedChunk& chunk : tensor.chunks) {
    if (!IsEmpty(chunk.box)) chunks.push_back(BoxValue(chunk.box));
  }
  return Dict{{"kind", "tensor"}, {"dtype", DtypeName(tensor.dtype)}, {"shape", ToValue(tensor.shape)}, {"chunks", chunks}};
}

Value DescribeAt(const Call& call) {
  Manifest manifest;
  bool complete = true;
  try {
    manifest = ReadManifest(Disk(), call.Get("path").AsString());
  } catch (const SemanticError&) {  // none, or one that cannot be read
    complete = false;
  }
  std::map<std::string, Value> entries;
  for (const auto& [name, tensor] : manifest.tensors) entries[name] = EntryValue(tensor);
  for (const auto& [name, value] : manifest.values) entries[name] = Dict{{"kind", "value"}};
  Dict keys;
  for (const auto& [name, entry] : entries) keys.Set(name, entry);
  return Dict{{"complete", complete},
              {"version", manifest.version > 0 ? std::to_string(manifest.version) : ""},
              {"writes", std::to_string(kManifestVersion)},
              {"keys", keys}};
}

Value VerifyAt(const Call& call) { return ToValue(VerifyCheckpoint(Disk(), call.Get("path").AsString())); }

constexpr std::pair<std::string_view, StorageStep> kSteps[] = {
    {"set_up_writer", StorageStep::kSetUp},      {"set_up_reader", StorageStep::kSetUp},
    {"read_metadata", StorageStep::kReadManifest}, {"local_plan", StorageStep::kLocalPlan},
    {"global_plan", StorageStep::kGlobalPlan},   {"write", StorageStep::kWrite},
    {"read", StorageStep::kRead},                {"finish", StorageStep::kFinish}};

Value FailAt(const Call& call) {
  const std::string name = call.Get("step").AsString();
  StorageFault fault{std::ranges::find(kSteps, name, [](const auto& step) { return step.first; })->second,
                     call.Get("ranks").AsInts()};
  // Here every rank takes part in all steps.
  if (fault.step == StorageStep::kGlobalPlan || fault.step == StorageStep::kFinish) {
    const Value* coordinator = call.Find("coordinator");
    std::erase_if(fault.ranks, [&](int64_t rank) { return rank != (coordinator ? coordinator->AsInt() : 0); });
  }
  call.session.storage_fault = std::move(fault);
  return {};
}

Value ConvertTo(const Call& call) {
  const std::string to = call.Get("to").AsString();
  const TargetFormat format = to == "torch_save"    ? TargetFormat::kTorchFile
                              : to == "safetensors" ? TargetFormat::kSafetensors
                                                    : TargetFormat::kDefault;
  const Communicator& world = *call.session.context.communicator;
  ConvertCheckpoint(Disk(), world.global_ranks()[static_cast<size_t>(world.rank())], call.Get("source").AsString(),
                    call.Get("target").AsString(), format);
  return {};
}

Value LoadFile(const Call& call) {
  return Dict{{"state_dict", LoadTorchFile(*call.session.context.communicator, Disk(), call.Get("state_dict").AsDict(),
                                           call.Get("path").AsString())}};
}

}  // namespace

void AddCheckpointHandlers(HandlerTable& table) {
  table["storage.save"] = SaveTo;
  table["storage.save_async"] = SaveInBackground;
  table["storage.progress"] = ProgressOf;
  table["storage.wait"] = WaitFor;
  table["storage.stage"] = Staged;
  table["storage.load"] = LoadFrom;
  table["storage.read"] = ReadFrom;
  table["storage.consolidate"] = ConsolidateAt;
  table["storage.consolidate_on_every_rank"] = ConsolidateOnEveryRank;
  table["storage.load_optimizer"] = LoadOptimizer;
  table["storage.describe"] = DescribeAt;
  table["storage.verify"] = VerifyAt;
  table["storage.fail_at"] = FailAt;
  table["storage.convert"] = ConvertTo;
  table["storage.load_file"] = LoadFile;
}

}  // namespace shardcts::reference
