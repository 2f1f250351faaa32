#include "contract/storage.h"

namespace shardcts {
namespace {

Value BoxesToValue(const std::vector<ChunkBox>& boxes) {
  List list;
  for (const ChunkBox& box : boxes) {
    list.push_back(Dict{{"offsets", ToValue(box.offsets)}, {"sizes", ToValue(box.sizes)}});
  }
  return list;
}

ChunkBox BoxFrom(const Dict& dict) { return {dict.At("offsets").AsInts(), dict.At("sizes").AsInts()}; }

SavedEntry EntryFrom(const Dict& dict) {
  SavedEntry entry;
  const std::string kind = dict.At("kind").AsString();
  if (kind != "tensor" && kind != "value") throw ContractViolation("kind: expected tensor or value, got " + kind);
  entry.is_tensor = kind == "tensor";
  if (!entry.is_tensor) return entry;
  entry.dtype = dict.At("dtype").AsString();
  entry.shape = dict.At("shape").AsInts();
  for (const Value& chunk : dict.At("chunks").AsList()) entry.chunks.push_back(BoxFrom(chunk.AsDict()));
  return entry;
}

template <class Options>
void AddShared(Dict& arguments, const Options& options) {
  if (!options.format.empty()) arguments.Set("format", options.format);
  if (options.group) arguments.Set("group", options.group->handle());
}

Dict SaveArguments(const Dict& state_dict, const std::string& path, const SaveOptions& options) {
  Dict arguments{{"state_dict", state_dict}, {"path", path}};
  AddShared(arguments, options);
  if (!options.overwrite) arguments.Set("overwrite", false);
  if (options.threads) arguments.Set("threads", *options.threads);
  if (options.lowest_rank) arguments.Set("lowest_rank", true);
  return arguments;
}

// `warnings`: where those of the call are put; nullptr: nowhere.
Value RequireWarned(Caller& caller, std::string_view operation, Dict arguments, std::vector<Warning>* warnings) {
  Outcome outcome = caller.Call(operation, std::move(arguments));
  if (warnings) *warnings = outcome.warnings;
  if (!outcome.ok()) throw OperationFailed(std::string(operation), outcome.error());
  return std::move(outcome.value());
}

}  // namespace

void SaveCheckpoint(Caller& caller, const Dict& state_dict, const std::string& path, const SaveOptions& options) {
  RequireWarned(caller, "storage.save", SaveArguments(state_dict, path, options), options.warnings);
}

BackgroundSave SaveCheckpointAsync(Caller& caller, const Dict& state_dict, const std::string& path,
                                   const SaveOptions& options) {
  Dict arguments = SaveArguments(state_dict, path, options);
  return {caller, RequireWarned(caller, "storage.save_async", std::move(arguments), options.warnings), options.group};
}

BackgroundSave::State BackgroundSave::Progress() const {
  const Dict progress = Require(*caller_, "storage.progress", {{"save", handle_}}).AsDict();
  return {progress.At("staged").AsBool(), progress.At("done").AsBool()};
}

void BackgroundSave::Wait() {
  Dict arguments{{"save", handle_}};
  if (group_) arguments.Set("group", group_->handle());
  Require(*caller_, "storage.wait", std::move(arguments));
}

Dict StageState(Caller& caller, const Dict& state_dict) {
  return Require(caller, "storage.stage", {{"state_dict", state_dict}}).AsDict();
}

Dict LoadCheckpoint(Caller& caller, const Dict& state_dict, const std::string& path,
                    const CheckpointLoadOptions& options) {
  Dict arguments{{"state_dict", state_dict}, {"path", path}};
  AddShared(arguments, options);
  if (options.partial) arguments.Set("partial", true);
  const Value loaded = RequireWarned(caller, "storage.load", std::move(arguments), options.warnings);
  return loaded.AsDict().At("state_dict").AsDict();
}

Dict ReadCheckpoint(Caller& caller, const std::string& path, const std::vector<std::string>& keys) {
  Dict arguments{{"path", path}};
  if (!keys.empty()) arguments.Set("keys", ToValue(keys));
  return Require(caller, "storage.read", std::move(arguments)).AsDict();
}

void ConsolidateCheckpoint(Caller& caller, const std::string& path, const std::string& target,
                           const std::map<std::string, int64_t>& files) {
  Dict arguments{{"path", path}, {"target", target}}, numbers;
  for (const auto& [name, number] : files) numbers.Set(name, number);
  if (!files.empty()) arguments.Set("files", numbers);
  Require(caller, "storage.consolidate", std::move(arguments));
}

CheckpointDescription DescribeCheckpoint(Caller& caller, const std::string& path) {
  const Dict described = Require(caller, "storage.describe", {{"path", path}}).AsDict();
  CheckpointDescription description{.complete = described.At("complete").AsBool()};
  for (const auto& [name, entry] : described.At("keys").AsDict()) {
    description.entries[ToString(name)] = EntryFrom(entry.AsDict());
  }
  return description;
}

std::vector<std::string> VerifyCheckpoint(Caller& caller, const std::string& path) {
  return Require(caller, "storage.verify", {{"path", path}}).AsStrings();
}

std::vector<PlannedRead> PlanReads(Caller& caller, const std::vector<ChunkBox>& saved,
                                   const std::vector<ChunkBox>& wanted) {
  const Value planned =
      Require(caller, "storage.plan_reads", {{"saved", BoxesToValue(saved)}, {"wanted", BoxesToValue(wanted)}});
  std::vector<PlannedRead> reads;
  for (const Value& read : planned.AsList()) {
    const Dict& fields = read.AsDict();
    reads.push_back({fields.At("saved").AsInt(), fields.At("wanted").AsInt(), BoxFrom(fields)});
  }
  return reads;
}

std::vector<std::string> CheckChunks(Caller& caller, const std::vector<int64_t>& shape,
                                     const std::vector<ChunkBox>& chunks) {
  return Require(caller, "storage.check_chunks", {{"shape", ToValue(shape)}, {"chunks", BoxesToValue(chunks)}})
      .AsStrings();
}

}  // namespace shardcts
