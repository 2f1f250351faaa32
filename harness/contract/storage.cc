#include "contract/storage.h"

#include <ATen/ATen.h>

namespace shardcts {
namespace {

Value BoxesToValue(const std::vector<ChunkBox>& boxes) {
  List list;
  for (const ChunkBox& box : boxes) {
    list.push_back(Dict{{"offsets", ToValue(box.offsets)}, {"sizes", ToValue(box.sizes)}});
  }
  return list;
}

Dict NumbersToValue(const std::map<std::string, int64_t>& numbers) {
  Dict dict;
  for (const auto& [name, number] : numbers) dict.Set(name, number);
  return dict;
}

ChunkBox BoxFrom(const Dict& dict) { return {dict.At("offsets").AsInts(), dict.At("sizes").AsInts()}; }

// A row for each chunk: rank, offsets, sizes.
at::Tensor RowsOf(const std::vector<HeldChunk>& chunks, size_t dims) {
  const auto width = static_cast<int64_t>(1 + 2 * dims);
  at::Tensor rows = at::empty({static_cast<int64_t>(chunks.size()), width}, at::kLong);
  int64_t* number = rows.mutable_data_ptr<int64_t>();
  for (const HeldChunk& chunk : chunks) {
    *number++ = chunk.rank;
    for (int64_t offset : chunk.box.offsets) *number++ = offset;
    for (int64_t size : chunk.box.sizes) *number++ = size;
  }
  return rows;
}

std::vector<HeldChunk> ChunksFrom(const Value& value) {
  const at::Tensor rows = value.AsTensor().contiguous();
  if (rows.scalar_type() != at::kLong || rows.dim() != 2 || rows.size(1) % 2 != 1) {
    throw ContractViolation("chunks: expected rows of rank, offsets and sizes, got " + ToString(rows));
  }
  const int64_t dims = rows.size(1) / 2;
  const int64_t* number = rows.const_data_ptr<int64_t>();
  std::vector<HeldChunk> chunks;
  for (int64_t row = 0; row < rows.size(0); ++row, number += rows.size(1)) {
    chunks.push_back({*number, {{number + 1, number + 1 + dims}, {number + 1 + dims, number + 1 + 2 * dims}}});
  }
  return chunks;
}

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
  if (!options.distributed) arguments.Set("distributed", false);
  if (options.group) arguments.Set("group", options.group->handle());
}

Dict SaveArguments(const Dict& state_dict, const std::string& path, const SaveOptions& options) {
  Dict arguments{{"state_dict", state_dict}, {"path", path}};
  AddShared(arguments, options);
  if (!options.overwrite) arguments.Set("overwrite", false);
  if (options.threads) arguments.Set("threads", *options.threads);
  if (options.lowest_rank) arguments.Set("lowest_rank", true);
  if (!options.stream.empty()) arguments.Set("stream", options.stream);
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
  if (options.cache_staged) arguments.Set("cache_staged", true);
  if (options.process) arguments.Set("process", true);
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
  if (options.threads) arguments.Set("threads", *options.threads);
  if (options.block_size) arguments.Set("block_size", *options.block_size);
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
  Dict arguments{{"path", path}, {"target", target}};
  if (!files.empty()) arguments.Set("files", NumbersToValue(files));
  Require(caller, "storage.consolidate", std::move(arguments));
}

void ConsolidateOnEveryRank(Caller& caller, const std::string& path, const std::string& target,
                            const std::map<std::string, int64_t>& files) {
  Require(caller, "storage.consolidate_on_every_rank",
          {{"path", path}, {"target", target}, {"files", NumbersToValue(files)}});
}

Dict LoadOptimizerCheckpoint(Caller& caller, const Dict& model_state, const std::string& key, const std::string& path) {
  return Require(caller, "storage.load_optimizer", {{"model_state", model_state}, {"key", key}, {"path", path}}).AsDict();
}

CheckpointDescription DescribeCheckpoint(Caller& caller, const std::string& path) {
  const Dict described = Require(caller, "storage.describe", {{"path", path}}).AsDict();
  CheckpointDescription description{.complete = described.At("complete").AsBool(),
                                    .version = described.At("version").AsString(),
                                    .writes = described.At("writes").AsString()};
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

SavePlan PlanSave(Caller& caller, const HeldLayout& layout, const PlanSaveOptions& options) {
  Dict tensors, values;
  for (const auto& [name, tensor] : layout.tensors) {
    tensors.Set(name, Dict{{"dtype", tensor.dtype},
                           {"shape", ToValue(tensor.shape)},
                           {"chunks", RowsOf(tensor.chunks, tensor.shape.size())}});
  }
  for (const auto& [name, ranks] : layout.values) values.Set(name, ToValue(ranks));
  Dict arguments{{"ranks", layout.ranks}, {"tensors", tensors}, {"values", values}};
  if (options.lowest_rank) arguments.Set("lowest_rank", true);
  if (!options.series.empty()) arguments.Set("series", options.series);
  const Dict planned = Require(caller, "storage.plan_save", std::move(arguments)).AsDict();
  SavePlan plan;
  for (const auto& [name, rows] : planned.At("chunks").AsDict()) plan.chunks[ToString(name)] = ChunksFrom(rows);
  for (const auto& [name, rank] : planned.At("values").AsDict()) plan.values[ToString(name)] = rank.AsInt();
  for (const Value& is_reused : planned.At("reused").AsList()) plan.reused.push_back(is_reused.AsBool());
  return plan;
}

int64_t ContiguousRun(Caller& caller, const std::vector<int64_t>& place, const std::vector<int64_t>& part,
                      const std::vector<int64_t>& shape) {
  return Require(caller, "storage.contiguous_run",
                 {{"place", ToValue(place)}, {"part", ToValue(part)}, {"shape", ToValue(shape)}})
      .AsInt();
}

at::Tensor PlacePart(Caller& caller, const at::Tensor& part, const std::vector<int64_t>& offsets,
                     const std::vector<int64_t>& shape) {
  return Require(caller, "storage.place_part",
                 {{"part", part}, {"offsets", ToValue(offsets)}, {"shape", ToValue(shape)}})
      .AsTensor();
}

FlatState FlattenState(Caller& caller, const Dict& state_dict) {
  const Dict made = Require(caller, "storage.flatten", {{"state_dict", state_dict}}).AsDict();
  return {made.At("flat").AsDict(), made.At("paths").AsDict()};
}

Dict UnflattenState(Caller& caller, const FlatState& state) {
  return Require(caller, "storage.unflatten", {{"flat", state.flat}, {"paths", state.paths}}).AsDict();
}

void ConvertCheckpoint(Caller& caller, const std::string& source, const std::string& target, const std::string& to) {
  Require(caller, "storage.convert", {{"source", source}, {"target", target}, {"to", to}});
}

Dict LoadTorchFile(Caller& caller, const Dict& state_dict, const std::string& path) {
  const Value loaded = Require(caller, "storage.load_file", {{"state_dict", state_dict}, {"path", path}});
  return loaded.AsDict().At("state_dict").AsDict();
}

void FailAt(Caller& caller, const StorageFailure& failure) {
  Dict arguments{{"step", failure.step}, {"ranks", ToValue(failure.ranks)}};
  if (failure.asynchronous) arguments.Set("asynchronous", true);
  if (failure.coordinator != 0) arguments.Set("coordinator", failure.coordinator);
  Require(caller, "storage.fail_at", std::move(arguments));
}

}  // namespace shardcts
