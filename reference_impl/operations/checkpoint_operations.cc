#include "contract/tensor_bytes.h"
#include "operations/handlers.h"
#include "storage/checkpoint.h"
#include "storage/together.h"

namespace shardcts::reference {
namespace {

bool IsSafetensors(const Call& call) {
  const Value* format = call.Find("format");
  return format && format->AsString() == "safetensors";
}

Value SaveTo(const Call& call) {
  SaveCheckpoint(call.GroupOrWorld(), Disk(), call.Get("state_dict").AsDict(),
                 {.path = call.Get("path").AsString(),
                  .overwrite = call.Flag("overwrite", true),
                  .tensors_only = IsSafetensors(call)});
  return {};
}

Value LoadFrom(const Call& call) {
  const Dict loaded = LoadCheckpoint(call.GroupOrWorld(), Disk(), call.Get("state_dict").AsDict(),
                                     call.Get("path").AsString(), call.Flag("partial", false));
  return Dict{{"state_dict", loaded}};
}

Value ReadFrom(const Call& call) {
  const Value* keys = call.Find("keys");
  return ReadCheckpoint(Disk(), call.Get("path").AsString(), keys ? keys->AsStrings() : std::vector<std::string>());
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
  table["storage.load"] = LoadFrom;
  table["storage.read"] = ReadFrom;
  table["storage.describe"] = DescribeAt;
  table["storage.verify"] = VerifyAt;
  table["storage.plan_reads"] = PlannedReads;
  table["storage.check_chunks"] = CheckedChunks;
}

}  // namespace shardcts::reference
