// The arithmetic of checkpoints as operations.
#include <ATen/ATen.h>

#include <algorithm>

#include "contract/tensor_bytes.h"
#include "operations/handlers.h"
#include "storage/copy_runs.h"
#include "storage/flat_state.h"
#include "storage/layout.h"
#include "storage/save_plan.h"
#include "storage/together.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

std::vector<Box> BoxesFrom(const Value& value) {
  std::vector<Box> boxes;
  for (const Value& box : value.AsList()) {
    boxes.push_back({box.AsDict().At("offsets").AsInts(), box.AsDict().At("sizes").AsInts()});
    if (boxes.back().offsets.size() == boxes.back().sizes.size()) continue;
    throw SemanticError("ValueError", "a chunk has as many offsets as sizes");
  }
  return boxes;
}

Value PlannedReads(const Call& call) {
  List reads;
  const std::vector<Box> saved = BoxesFrom(call.Get("saved")), wanted = BoxesFrom(call.Get("wanted"));
  for (const std::vector<Box>* boxes : {&saved, &wanted}) {
    for (const Box& box : *boxes) {
      if (box.sizes.size() == (saved.empty() ? box : saved.front()).sizes.size()) continue;
      throw SemanticError("ValueError", "all chunks have the dimensions of one tensor");
    }
  }
  for (const Read& read : PlanReads(saved, wanted)) {
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

Value RunFrom(const Call& call) {
  return ContiguousRun(call.Get("place").AsInts(), call.Get("part").AsInts(), call.Get("shape").AsInts());
}

Value PlacedPart(const Call& call) {
  return PlacePart(call.Get("part").AsTensor(), call.Get("offsets").AsInts(), call.Get("shape").AsInts());
}

// Rows of rank, offsets and sizes.
void AddHolders(HeldEntry& held, const at::Tensor& rows, int64_t ranks) {
  const size_t dims = held.entry.shape.size();
  const auto table = rows.to(at::kLong).contiguous();
  const int64_t* numbers = table.const_data_ptr<int64_t>();
  if (table.dim() != 2 || table.size(1) != static_cast<int64_t>(1 + 2 * dims)) {
    throw SemanticError("ValueError", "\"" + held.entry.name + "\": a row is the rank, the offsets and the sizes");
  }
  for (int64_t row = 0; row < table.size(0); ++row, numbers += table.size(1)) {
    const Box box{{numbers + 1, numbers + 1 + dims}, {numbers + 1 + dims, numbers + table.size(1)}};
    if (*numbers < 0 || *numbers >= ranks) {
      throw SemanticError("ValueError", "\"" + held.entry.name + "\": rank " + std::to_string(*numbers) + " of " +
                                            std::to_string(ranks));
    }
    if (held.ranks.empty() || held.ranks.back() != *numbers) held.ranks.push_back(*numbers);
    if (!IsEmpty(box)) held.holders[box].push_back(*numbers);
  }
  if (!held.ranks.empty()) held.first_rank = held.ranks.front();
}

std::vector<HeldEntry> HeldFrom(const Call& call) {
  std::vector<HeldEntry> all;
  for (const auto& [name, layout] : call.Get("tensors").AsDict()) {
    const Dict& fields = layout.AsDict();
    HeldEntry held{.entry = {.name = ToString(name),
                             .path = {},
                             .is_tensor = true,
                             .dtype = *ParseDtype(fields.At("dtype").AsString()),
                             .shape = fields.At("shape").AsInts(),
                             .boxes = {}}};
    AddHolders(held, fields.At("chunks").AsTensor(), call.Get("ranks").AsInt());
    all.push_back(std::move(held));
  }
  for (const auto& [name, ranks] : call.Get("values").AsDict()) {
    HeldEntry held{.entry = {.name = ToString(name), .path = {}, .is_tensor = false, .shape = {}, .boxes = {}}};
    const std::vector<int64_t> holders = ranks.AsInts();
    if (holders.empty() || holders.front() < 0 || holders.front() >= call.Get("ranks").AsInt()) {
      throw SemanticError("ValueError", "\"" + held.entry.name + "\": no rank has it");
    }
    held.first_rank = holders.front();
    all.push_back(std::move(held));
  }
  return all;
}

at::Tensor RowsOf(const PlannedEntry& planned) {
  const auto width = static_cast<int64_t>(1 + 2 * planned.entry.shape.size());
  at::Tensor rows = at::empty({static_cast<int64_t>(planned.chunks.size()), width}, at::kLong);
  int64_t* number = rows.mutable_data_ptr<int64_t>();
  for (const PlannedChunk& chunk : planned.chunks) {
    *number++ = chunk.writer;
    number = std::ranges::copy(chunk.box.offsets, number).out;
    number = std::ranges::copy(chunk.box.sizes, number).out;
  }
  return rows;
}

// What each rank writes, as a text that tells whether it is the same.
std::vector<std::string> WrittenBy(int64_t ranks, const std::vector<PlannedEntry>& plan) {
  std::vector<std::string> texts(static_cast<size_t>(ranks));
  for (const PlannedEntry& planned : plan) {
    const std::string what = planned.entry.name + " " + DtypeName(planned.entry.dtype);
    if (!planned.entry.is_tensor) texts[static_cast<size_t>(planned.owner)] += what + "\n";
    for (const PlannedChunk& chunk : planned.chunks) {
      texts[static_cast<size_t>(chunk.writer)] += what + ShapeToString(planned.entry.shape) + BoxText(chunk.box) + "\n";
    }
  }
  return texts;
}

// Compares with the last plan of the series, and takes its place.
std::vector<bool> Reused(const Call& call, int64_t ranks, const std::vector<PlannedEntry>& plan) {
  std::vector<bool> reused(static_cast<size_t>(ranks), false);
  const Value* series = call.Find("series");
  if (!series) return reused;
  const std::vector<std::string> written = WrittenBy(ranks, plan);
  std::vector<std::string>& last = call.session.plan_series[series->AsString()];
  for (size_t rank = 0; rank < std::min(last.size(), written.size()); ++rank)
    reused[rank] = last[rank] == written[rank];
  last = written;
  return reused;
}

Value PlannedSave(const Call& call) {
  const int64_t ranks = call.Get("ranks").AsInt();
  std::vector<PlannedEntry> plan;
  Alone([&] { plan = PlanSave(HeldFrom(call), ranks, call.Flag("lowest_rank", false)); });
  Dict chunks, values;
  for (const PlannedEntry& planned : plan) {
    if (planned.entry.is_tensor) {
      chunks.Set(planned.entry.name, RowsOf(planned));
    } else {
      values.Set(planned.entry.name, planned.owner);
    }
  }
  List reused;
  for (const bool is_reused : Reused(call, ranks, plan)) reused.push_back(is_reused);
  return Dict{{"chunks", chunks}, {"values", values}, {"reused", reused}};
}

Value FlatState(const Call& call) {
  Dict flat, paths;
  for (const FlatEntry& entry : Flatten(call.Get("state_dict").AsDict())) {
    List path;
    for (const PathStep& step : entry.path) {
      const auto* number = std::get_if<int64_t>(&step.key);
      const Value key = number ? Value(*number) : Value(std::get<std::string>(step.key));
      path.push_back(number && !step.is_index ? Value(List{key}) : key);
    }
    flat.Set(entry.name, entry.value);
    paths.Set(entry.name, path);
  }
  return Dict{{"flat", flat}, {"paths", paths}};
}

PathStep StepFrom(const Value& key) {
  if (const List* int_key = key.TryAs<List>()) return {int_key->at(0).AsInt(), false};
  if (key.type() == Value::Type::kInt) return {key.AsInt(), true};
  return {key.AsString(), false};
}

Value NestedState(const Call& call) {
  std::vector<FlatEntry> entries;
  for (const auto& [name, value] : call.Get("flat").AsDict()) {
    FlatEntry entry{ToString(name), {}, value};
    for (const Value& key : call.Get("paths").AsDict().At(name).AsList()) entry.path.push_back(StepFrom(key));
    entries.push_back(std::move(entry));
  }
  return Unflatten(entries);
}

}  // namespace

void AddCheckpointPlanHandlers(HandlerTable& table) {
  table["storage.plan_reads"] = PlannedReads;
  table["storage.check_chunks"] = CheckedChunks;
  table["storage.contiguous_run"] = RunFrom;
  table["storage.place_part"] = PlacedPart;
  table["storage.plan_save"] = PlannedSave;
  table["storage.flatten"] = FlatState;
  table["storage.unflatten"] = NestedState;
}

}  // namespace shardcts::reference
