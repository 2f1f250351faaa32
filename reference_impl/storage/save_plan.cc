#include "storage/save_plan.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "contract/tensor_bytes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

[[noreturn]] void FailFor(const std::string& name, const std::string& problem) {
  throw SemanticError("RuntimeError", "\"" + name + "\": " + problem);
}

Value BoxesToValue(const std::vector<Box>& boxes) {
  List list;
  for (const Box& box : boxes) list.push_back(List{ToValue(box.offsets), ToValue(box.sizes)});
  return list;
}

Value PathToValue(const Path& path) {
  List steps;
  for (const PathStep& step : path) {
    steps.push_back(std::visit([&](const auto& key) { return List{Value(key), Value(step.is_index)}; }, step.key));
  }
  return steps;
}

Path PathFrom(const Value& value) {
  Path path;
  for (const Value& step : value.AsList()) {
    const Value& key = step.AsList().at(0);
    const bool is_text = key.type() == Value::Type::kString;
    path.push_back({is_text ? Key(key.AsString()) : Key(key.AsInt()), step.AsList().at(1).AsBool()});
  }
  return path;
}

std::string Kind(const SaveNote& note) {
  if (!note.is_tensor) return "a plain value";
  return DtypeName(note.dtype) + " " + ShapeToString(note.shape);
}

void Add(HeldEntry& held, const SaveNote& note, int64_t rank) {
  if (Kind(note) != Kind(held.entry)) {
    FailFor(note.name, "rank " + std::to_string(held.first_rank) + " of the group has " + Kind(held.entry) +
                        ", rank " + std::to_string(rank) + " " + Kind(note));
  }
  if (!(note.path == held.entry.path)) {
    FailFor(note.name, "ranks " + std::to_string(held.first_rank) + " and " + std::to_string(rank) +
                           " of the group have it in other places of the state dict");
  }
  if (!note.boxes.empty()) held.ranks.push_back(rank);
  for (const Box& box : note.boxes) {
    if (!IsEmpty(box)) held.holders[box].push_back(rank);
  }
}

// In the order of the names.
std::vector<HeldEntry> Gather(const std::vector<std::vector<SaveNote>>& by_rank) {
  std::vector<HeldEntry> all;
  std::map<std::string, size_t> places;
  for (size_t rank = 0; rank < by_rank.size(); ++rank) {
    for (const SaveNote& note : by_rank[rank]) {
      const auto [place, is_new] = places.emplace(note.name, all.size());
      if (is_new) all.push_back({note, static_cast<int64_t>(rank), {}, {}});
      Add(all[place->second], note, static_cast<int64_t>(rank));
    }
  }
  return all;
}

std::vector<PlannedChunk> ChunksWithoutWriters(const HeldEntry& held) {
  const SaveNote& entry = held.entry;
  std::vector<Box> boxes;
  for (const auto& [box, ranks] : held.holders) boxes.push_back(box);
  const std::vector<std::string> problems = TilingProblems(entry.shape, boxes);
  if (!problems.empty()) FailFor(entry.name, problems.front() + "; it is " + Kind(entry));
  std::vector<PlannedChunk> chunks;
  for (const Box& box : boxes) chunks.push_back({box, -1});
  if (boxes.empty()) chunks.push_back({WholeBox(entry.shape), held.ranks.empty() ? held.first_rank : held.ranks.front()});
  return chunks;
}

// Chunks that one rank alone has, then the others, the largest first, each to the holder with the least to write.
void ChooseWriters(const std::vector<HeldEntry>& held, std::vector<PlannedEntry>& plan, size_t ranks,
                   bool lowest_rank) {
  struct Choice {
    PlannedChunk* chunk;
    const std::vector<int64_t>* holders;
    int64_t bytes;
  };
  std::vector<Choice> choices;
  std::vector<int64_t> load(ranks, 0);
  for (size_t i = 0; i < plan.size(); ++i) {
    // A plain value, whose size nobody knows, counts a little.
    if (!plan[i].entry.is_tensor) ++load[static_cast<size_t>(plan[i].owner)];
    for (PlannedChunk& chunk : plan[i].chunks) {
      if (chunk.writer >= 0) continue;
      const std::vector<int64_t>& holders = held[i].holders.at(chunk.box);
      const int64_t bytes =
          NumElements(chunk.box.sizes) * static_cast<int64_t>(c10::elementSize(plan[i].entry.dtype));
      if (holders.size() > 1 && !lowest_rank) {
        choices.push_back({&chunk, &holders, bytes});
      } else {
        chunk.writer = holders.front();
        load[static_cast<size_t>(chunk.writer)] += bytes;
      }
    }
  }
  std::ranges::stable_sort(choices, std::ranges::greater(), &Choice::bytes);
  for (const Choice& choice : choices) {
    choice.chunk->writer =
        *std::ranges::min_element(*choice.holders, {}, [&](int64_t rank) { return load[static_cast<size_t>(rank)]; });
    load[static_cast<size_t>(choice.chunk->writer)] += choice.bytes;
  }
}

}  // namespace

Value NotesToValue(const std::vector<SaveNote>& notes) {
  List list;
  for (const SaveNote& note : notes) {
    list.push_back(List{note.name, PathToValue(note.path), note.is_tensor, DtypeName(note.dtype), ToValue(note.shape),
                        BoxesToValue(note.boxes)});
  }
  return list;
}

std::vector<SaveNote> NotesFrom(const Value& value) {
  std::vector<SaveNote> notes;
  for (const Value& item : value.AsList()) {
    const List& fields = item.AsList();
    SaveNote note{fields.at(0).AsString(), PathFrom(fields.at(1)), fields.at(2).AsBool(),
                   *ParseDtype(fields.at(3).AsString()), fields.at(4).AsInts(), {}};
    for (const Value& box : fields.at(5).AsList()) {
      note.boxes.push_back({box.AsList().at(0).AsInts(), box.AsList().at(1).AsInts()});
    }
    notes.push_back(std::move(note));
  }
  return notes;
}

std::vector<PlannedEntry> PlanSave(const std::vector<HeldEntry>& held, int64_t ranks, bool lowest_rank) {
  std::vector<PlannedEntry> plan;
  for (const HeldEntry& one : held) {
    PlannedEntry planned{one.entry, {}, one.first_rank};
    planned.entry.boxes.clear();
    if (one.entry.is_tensor) planned.chunks = ChunksWithoutWriters(one);
    plan.push_back(std::move(planned));
  }
  ChooseWriters(held, plan, static_cast<size_t>(ranks), lowest_rank);
  return plan;
}

std::vector<PlannedEntry> PlanSave(const std::vector<std::vector<SaveNote>>& by_rank, bool lowest_rank) {
  return PlanSave(Gather(by_rank), static_cast<int64_t>(by_rank.size()), lowest_rank);
}

}  // namespace shardcts::reference
