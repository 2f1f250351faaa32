// Plans: what is read of which chunk, by layouts alone.
#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "contract/storage.h"
#include "contract/tensor_bytes.h"
#include "rank/trial.h"
#include "suites/storage/rule.h"

namespace shardcts::storage {
namespace {

constexpr int64_t kBeyond = int64_t{1} << 33;  // rows; further than 32 bits count

// The rows of a matrix, in chunks that end at these numbers.
std::vector<ChunkBox> RowsUpTo(const std::vector<int64_t>& ends, int64_t columns) {
  std::vector<ChunkBox> chunks;
  int64_t begin = 0;
  for (int64_t end : ends) {
    chunks.push_back({{begin, 0}, {end - begin, columns}});
    begin = end;
  }
  return chunks;
}

// Every combination of a part of each dimension; parts end at these numbers, the last dimension fastest.
std::vector<ChunkBox> Grid(const std::vector<std::vector<int64_t>>& ends) {
  std::vector<ChunkBox> chunks = {{}};
  for (const std::vector<int64_t>& dim : ends) {
    std::vector<ChunkBox> next;
    for (const ChunkBox& chunk : chunks) {
      int64_t begin = 0;
      for (int64_t end : dim) {
        next.push_back(chunk);
        next.back().offsets.push_back(begin);
        next.back().sizes.push_back(end - begin);
        begin = end;
      }
    }
    chunks = std::move(next);
  }
  return chunks;
}

// Of each pair of chunks what both have, by its definition; ascending by wanted, then by saved.
std::vector<PlannedRead> Overlaps(const std::vector<ChunkBox>& saved, const std::vector<ChunkBox>& wanted) {
  std::vector<PlannedRead> reads;
  for (size_t w = 0; w < wanted.size(); ++w) {
    for (size_t s = 0; s < saved.size(); ++s) {
      PlannedRead read{static_cast<int64_t>(s), static_cast<int64_t>(w), {}};
      bool is_empty = false;
      for (size_t dim = 0; dim < saved[s].offsets.size(); ++dim) {
        const int64_t begin = std::max(saved[s].offsets[dim], wanted[w].offsets[dim]);
        const int64_t saved_end = saved[s].offsets[dim] + saved[s].sizes[dim];
        const int64_t end = std::min(saved_end, wanted[w].offsets[dim] + wanted[w].sizes[dim]);
        is_empty = is_empty || end <= begin;
        read.box.offsets.push_back(begin);
        read.box.sizes.push_back(end - begin);
      }
      if (!is_empty) reads.push_back(read);
    }
  }
  return reads;
}

void PlansOverlaps(Trial& t, const std::string& what, const std::vector<ChunkBox>& saved,
                   const std::vector<ChunkBox>& wanted) {
  const std::vector<PlannedRead> expected = Overlaps(saved, wanted), actual = PlanReads(t.caller(), saved, wanted);
  t.Rule(Equal(what + ": number of reads", expected.size(), actual.size()));
  for (size_t i = 0; i < std::min(expected.size(), actual.size()); ++i) {
    const std::string read = fmt::format("{}: read {}", what, i);
    t.Rule(Equal(read + ": saved", expected[i].saved, actual[i].saved));
    t.Rule(Equal(read + ": wanted", expected[i].wanted, actual[i].wanted));
    t.Rule(Equal(read + ": offsets", expected[i].box.offsets, actual[i].box.offsets));
    t.Rule(Equal(read + ": sizes", expected[i].box.sizes, actual[i].box.sizes));
  }
}

}  // namespace

RULE(RS11) {
  const std::string chunks = t.TextParam("chunks");
  if (chunks == "number") return PlansOverlaps(t, "no dimensions", {{}}, {{}});
  if (chunks == "rows") return PlansOverlaps(t, "rows", RowsUpTo({3, 4, 9, 13}, 2), RowsUpTo({1, 4, 12, 13}, 2));
  if (chunks == "empty") return PlansOverlaps(t, "empty", RowsUpTo({3, 3, 9}, 2), RowsUpTo({5, 5, 9}, 2));
  if (chunks == "grid") {
    const std::vector<ChunkBox> few = Grid({{4, 7}, {1, 5}, {2, 3}}), many = Grid({{1, 3, 6, 7}, {2, 4, 5}, {3}});
    PlansOverlaps(t, "few into many", few, many);
    return PlansOverlaps(t, "many into few", many, few);
  }
  // What begins first is not what ends first.
  const std::vector<ChunkBox> turned = {{{6, 0}, {3, 5}}, {{0, 1}, {6, 4}}, {{0, 0}, {6, 1}}};
  const std::vector<ChunkBox> nested = {{{0, 0}, {9, 5}}, {{1, 1}, {2, 2}}, {{0, 4}, {8, 1}}, {{8, 0}, {1, 5}}};
  PlansOverlaps(t, "turned and nested", turned, nested);
}

RULE(DT4) {
  const std::vector<int64_t> ends = {kBeyond / 2 - 1, kBeyond + 3, kBeyond + 5};
  PlansOverlaps(t, "beyond 32 bits", RowsUpTo(ends, 3), RowsUpTo({kBeyond, kBeyond + 4, kBeyond + 5}, 3));
  const auto problems_of = [&](const std::vector<ChunkBox>& chunks) {
    return CheckChunks(t.caller(), {kBeyond + 5, 3}, chunks);
  };
  t.Rule(Equal<size_t>("problems of a tiling", 0, problems_of(RowsUpTo(ends, 3)).size()));
  std::vector<ChunkBox> gap = RowsUpTo(ends, 3), overlap = gap, excess = gap;
  gap[1].sizes[0] -= 1;
  overlap[1].sizes[0] += 1;
  excess[2].sizes[0] += 1;
  t.Rule(Holds(!problems_of({}).empty(), "a shape without chunks", "is not found"));
  t.Rule(Holds(!problems_of(gap).empty(), "a gap", "is not found"));
  t.Rule(Holds(!problems_of(overlap).empty(), "an overlap", "is not found"));
  t.Rule(Holds(!problems_of(excess).empty(), "a row beyond the shape", "is not found"));
}

RULE(FM13) {
  using Ints = std::vector<int64_t>;
  const std::vector<std::pair<Ints, Ints>> parts = {{{3}, {5}}, {{2, 4}, {4, 4}}, {{2, 3}, {4, 4}},
                                                    {{2, 3, 4}, {2, 3, 4}}, {{2, 3, 4}, {5, 3, 4}}, {{2, 2, 4}, {5, 3, 4}}};
  for (const auto& [part, shape] : parts) {
    const int64_t numel = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
    at::Tensor inside = at::arange(numel, at::kLong).view(shape);
    for (size_t dim = 0; dim < part.size(); ++dim) inside = inside.narrow(static_cast<int64_t>(dim), 0, part[dim]);
    const at::Tensor places = inside.flatten();  // in the whole tensor, of the part's elements in their order
    for (int64_t element = 0; element < places.numel(); ++element) {
      Ints place;
      for (int64_t left = element, inner = places.numel(); const int64_t size : part) {
        inner /= size;
        place.push_back(left / inner);
        left %= inner;
      }
      int64_t run = 1;
      while (element + run < places.numel() &&
             places[element + run].item<int64_t>() == places[element].item<int64_t>() + run) {
        ++run;
      }
      const int64_t counted = ContiguousRun(t.caller(), place, part, shape), row = part.back() - place.back();
      t.Rule(Holds(row <= counted && counted <= run,
                   fmt::format("from {} of {} in {}", ShapeToString(place), ShapeToString(part), ShapeToString(shape)),
                   fmt::format("expected {} to {} elements, actual {}", row, run, counted)));
    }
  }
}

RULE(HX16) {
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{1LL << 32, 1LL << 32}, {1LL << 40, 1LL << 23, 2}}) {
    const std::vector<std::string> problems = CheckChunks(t.caller(), shape, {});
    t.Rule(Holds(!problems.empty(), ShapeToString(shape), "has all of its elements in no chunk at all"));
  }
}

RULE(SC7) {
  const auto whole = [](int64_t elements) { return ChunkBox{{0}, {elements}}; };
  HeldLayout layout{.ranks = 2, .tensors = {}, .values = {}};
  // Rank 0 alone has 1,000 bytes; of what both have, 8 times 104 bytes in 104 or 13 elements, rank 1 writes all.
  layout.tensors.push_back({"own", {"float32", {250}, {{0, whole(250)}}}});
  for (int64_t i = 0; i < 8; ++i) {
    const int64_t elements = i % 2 == 0 ? 104 : 13;
    layout.tensors.push_back({fmt::format("both{}", i), {i % 2 == 0 ? "uint8" : "float64", {elements},
                                                          {{0, whole(elements)}, {1, whole(elements)}}}});
  }
  const SavePlan plan = PlanSave(t.caller(), layout);
  for (const auto& [name, chunks] : plan.chunks) {
    const int64_t writer = chunks.empty() ? -1 : chunks.front().rank;
    t.Rule(Equal("who writes " + name, int64_t{name == "own" ? 0 : 1}, writer));
  }
}

RULE(SC8) {
  const auto layout_of = [](const char* dtype) {
    HeldLayout layout{.ranks = 1, .tensors = {}, .values = {}};
    layout.tensors.push_back({"weight", {dtype, {4}, {{0, {{0}, {4}}}}}});
    return layout;
  };
  const auto reused = [&](const char* dtype) {
    return bool{PlanSave(t.caller(), layout_of(dtype), {.series = "series"}).reused.at(0)};
  };
  t.Rule(Equal("the first plan is reused", false, reused("float32")));
  t.Rule(Equal("the same plan is reused", true, reused("float32")));
  t.Rule(Equal("a plan of another dtype is reused", false, reused("float64")));
}

// Rank 0 has nothing of the second tensor, and of the third each rank has its own half.
RULE(RK9) {
  HeldLayout layout{.ranks = 3, .tensors = {}, .values = {{"text", {1, 2}}}};
  const auto rows = [](int64_t first, int64_t count) { return ChunkBox{{first}, {count}}; };
  layout.tensors.push_back({"everywhere", {"float32", {6}, {{0, rows(0, 6)}, {1, rows(0, 6)}, {2, rows(0, 6)}}}});
  layout.tensors.push_back({"not_on_0", {"float32", {6}, {{1, rows(0, 6)}, {2, rows(0, 6)}}}});
  layout.tensors.push_back({"halves", {"float32", {6}, {{0, rows(0, 3)}, {1, rows(3, 3)}, {2, rows(3, 3)}}}});
  const SavePlan plan = PlanSave(t.caller(), layout, {.lowest_rank = true});
  const std::map<std::string, std::vector<HeldChunk>> expected = {
      {"everywhere", {{0, rows(0, 6)}}},
      {"not_on_0", {{1, rows(0, 6)}}},
      {"halves", {{0, rows(0, 3)}, {1, rows(3, 3)}}}};
  for (const auto& [name, chunks] : expected) {
    t.Rule(Holds(plan.chunks.at(name) == chunks, name, "is not written once, by the lowest rank that has it"));
  }
  t.Rule(Equal("who writes the value", int64_t{1}, plan.values.at("text")));
}

RULE(RK11) {
  HeldLayout layout{.ranks = 2, .tensors = {}, .values = {}};
  for (const int64_t size : {1000, 10, 20, 30}) {
    const ChunkBox whole{{0}, {size}};
    layout.tensors.push_back({std::to_string(size), {"float32", {size}, {{0, whole}, {1, whole}}}});
  }
  const SavePlan plan = PlanSave(t.caller(), layout, {});
  const auto writer_of = [&](const std::string& name) { return plan.chunks.at(name).at(0).rank; };
  for (const char* small : {"10", "20", "30"}) {
    t.Rule(Holds(writer_of(small) != writer_of("1000"), small, "elements are written by the rank that writes 1000"));
  }
}

}  // namespace shardcts::storage
