#include <algorithm>

#include "contract/tensor_bytes.h"
#include "operations/handlers.h"
#include "storage/checkpoint.h"
#include "storage/consolidate.h"
#include "storage/stage.h"
#include "storage/together.h"

namespace shardcts::reference {
namespace {

bool HasFormat(const Call& call, std::string_view name) {
  const Value* format = call.Find("format");
  return format && format->AsString() == name;
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
  Tell(call, SaveCheckpoint(call.GroupOrWorld(), Disk(), call.Get("state_dict").AsDict(), SettingsOf(call)));
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
  const LoadedCheckpoint loaded = LoadCheckpoint(call.GroupOrWorld(), Disk(), call.Get("state_dict").AsDict(),
                                                 call.Get("path").AsString(), partial);
  if (!partial && !loaded.left_out.empty()) call.warnings.push_back({"UserWarning", LeftOutText(loaded.left_out)});
  return Dict{{"state_dict", loaded.state_dict}};
}

Value ReadFrom(const Call& call) {
  const Value* keys = call.Find("keys");
  return ReadCheckpoint(Disk(), call.Get("path").AsString(), keys ? keys->AsStrings() : std::vector<std::string>());
}

Value ConsolidateAt(const Call& call) {
  std::map<std::string, int64_t> file_of;
  if (const Value* numbers = call.Find("files")) {
    for (const auto& [name, number] : numbers->AsDict()) file_of[ToString(name)] = number.AsInt();
  }
  ConsolidateCheckpoint(Disk(), call.Get("path").AsString(), call.Get("target").AsString(), file_of);
  return {};
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
  return Dict{{"complete", complete}, {"keys", keys}};
}

Value VerifyAt(const Call& call) { return ToValue(VerifyCheckpoint(Disk(), call.Get("path").AsString())); }

std::vector<Box> BoxesFrom(const Value& value) {
  std::vector<Box> boxes;
  for (const Value& box : value.AsList()) {
    boxes.push_back({box.AsDict().At("offsets").AsInts(), box.AsDict().At("sizes").AsInts()});
  }
  return boxes;
}

Value PlannedReads(const Call& call) {
  List reads;
  for (const Read& read : PlanReads(BoxesFrom(call.Get("saved")), BoxesFrom(call.Get("wanted")))) {
    reads.push_back(Dict{{"saved", static_cast<int64_t>(read.saved)},
                         {"wanted", static_cast<int64_t>(read.wanted)},
                         {"offsets", ToValue(read.box.offsets)},
                         {"sizes", ToValue(read.box.sizes)}});
  }
  return reads;
}

Value CheckedChunks(const Call& call) {
  return ToValue(TilingProblems(call.Get("shape").AsInts(), BoxesFrom(call.Get("chunks"))));
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
  table["storage.describe"] = DescribeAt;
  table["storage.verify"] = VerifyAt;
  table["storage.plan_reads"] = PlannedReads;
  table["storage.check_chunks"] = CheckedChunks;
}

}  // namespace shardcts::reference
