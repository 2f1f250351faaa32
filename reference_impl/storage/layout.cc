#include "storage/layout.h"

#include <algorithm>
#include <optional>
#include <set>

namespace shardcts::reference {
namespace {

// The dimension in which the boxes have the most different offsets: there a sweep has the fewest boxes at a time.
size_t SweepDim(const std::vector<Box>& boxes) {
  size_t best = 0, most = 0;
  const size_t dims = boxes.empty() ? 0 : boxes.front().offsets.size();
  for (size_t dim = 0; dim < dims; ++dim) {
    std::set<int64_t> offsets;
    for (const Box& box : boxes) offsets.insert(box.offsets[dim]);
    if (offsets.size() > most) most = offsets.size(), best = dim;
  }
  return best;
}

int64_t Begin(const Box& box, size_t dim) { return box.offsets.empty() ? 0 : box.offsets[dim]; }
int64_t Size(const Box& box, size_t dim) { return box.sizes.empty() ? 1 : box.sizes[dim]; }
int64_t End(const Box& box, size_t dim) { return Begin(box, dim) + Size(box, dim); }

std::vector<size_t> OrderAlong(const std::vector<Box>& boxes, size_t dim) {
  std::vector<size_t> order;
  for (size_t i = 0; i < boxes.size(); ++i) {
    if (!IsEmpty(boxes[i])) order.push_back(i);
  }
  std::ranges::stable_sort(order, {}, [&](size_t i) { return Begin(boxes[i], dim); });
  return order;
}

std::optional<std::string> OutsideProblem(const std::vector<int64_t>& shape, const Box& chunk) {
  if (chunk.offsets.size() != shape.size() || chunk.sizes.size() != shape.size()) {
    return "chunk " + BoxText(chunk) + " has another number of dimensions than the tensor, " +
           std::to_string(shape.size());
  }
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    const int64_t offset = chunk.offsets[dim], size = chunk.sizes[dim];
    if (offset >= 0 && size >= 0 && offset <= shape[dim] && size <= shape[dim] - offset) continue;
    return "chunk " + BoxText(chunk) + " leaves the tensor in dimension " + std::to_string(dim) + ", whose size is " +
           std::to_string(shape[dim]);
  }
  return std::nullopt;
}

void AddOverlaps(const std::vector<Box>& chunks, std::vector<std::string>& problems) {
  const size_t dim = SweepDim(chunks);
  std::vector<size_t> active;
  for (size_t next : OrderAlong(chunks, dim)) {
    std::erase_if(active, [&](size_t i) { return End(chunks[i], dim) <= Begin(chunks[next], dim); });
    for (size_t other : active) {
      if (problems.size() >= kMaxTilingProblems) return;
      if (!Overlap(chunks[other], chunks[next])) continue;
      problems.push_back("chunks " + BoxText(chunks[other]) + " and " + BoxText(chunks[next]) + " overlap");
    }
    active.push_back(next);
  }
}

}  // namespace

Box WholeBox(const std::vector<int64_t>& shape) { return {std::vector<int64_t>(shape.size(), 0), shape}; }

int64_t NumElements(const std::vector<int64_t>& sizes) {
  int64_t product = 1;
  for (int64_t size : sizes) product *= size;
  return product;
}

bool IsEmpty(const Box& box) { return std::ranges::count(box.sizes, 0) > 0; }

std::string BoxText(const Box& box) {
  std::string text = "[";
  for (size_t dim = 0; dim < std::min(box.offsets.size(), box.sizes.size()); ++dim) {
    if (dim > 0) text += ", ";
    // Of numbers from a file the end need not exist.
    const bool has_end = box.sizes[dim] >= 0 && box.offsets[dim] <= INT64_MAX - box.sizes[dim];
    text += std::to_string(box.offsets[dim]) +
            (has_end ? ":" + std::to_string(box.offsets[dim] + box.sizes[dim]) : "+" + std::to_string(box.sizes[dim]));
  }
  return text + "]";
}

std::optional<Box> Overlap(const Box& one, const Box& other) {
  Box both;
  for (size_t dim = 0; dim < one.offsets.size(); ++dim) {
    const int64_t begin = std::max(one.offsets[dim], other.offsets[dim]);
    const int64_t end = std::min(End(one, dim), End(other, dim));
    if (begin >= end) return std::nullopt;
    both.offsets.push_back(begin);
    both.sizes.push_back(end - begin);
  }
  return both;
}

// nullopt: more than an int64 holds.
std::optional<int64_t> CheckedNumElements(const std::vector<int64_t>& sizes) {
  if (std::ranges::count(sizes, 0) > 0) return 0;
  int64_t product = 1;
  for (int64_t size : sizes) {
    if (__builtin_mul_overflow(product, size, &product)) return std::nullopt;
  }
  return product;
}

std::vector<std::string> TilingProblems(const std::vector<int64_t>& shape, const std::vector<Box>& chunks) {
  std::vector<std::string> problems;
  for (const Box& chunk : chunks) {
    if (problems.size() >= kMaxTilingProblems) return problems;
    if (std::optional<std::string> problem = OutsideProblem(shape, chunk)) problems.push_back(std::move(*problem));
  }
  if (!problems.empty()) return problems;
  AddOverlaps(chunks, problems);
  if (!problems.empty()) return problems;
  const std::optional<int64_t> all = CheckedNumElements(shape);
  if (!all) return {"the shape has more elements than can be counted"};
  // Disjoint chunks inside the shape: their sizes cannot overflow.
  int64_t covered = 0;
  for (const Box& chunk : chunks) covered += NumElements(chunk.sizes);
  if (*all > covered) problems.push_back(std::to_string(*all - covered) + " elements are in no chunk");
  return problems;
}

std::vector<Read> PlanReads(const std::vector<Box>& saved, const std::vector<Box>& wanted) {
  const size_t dim = SweepDim(saved);
  const std::vector<size_t> order = OrderAlong(saved, dim);
  int64_t longest = 0;
  for (size_t i : order) longest = std::max(longest, Size(saved[i], dim));
  std::vector<Read> reads;
  for (size_t target = 0; target < wanted.size(); ++target) {
    if (IsEmpty(wanted[target])) continue;
    const size_t first_read = reads.size();
    // Chunks that begin further in front than the longest one reaches have nothing of it.
    auto next = std::ranges::upper_bound(order, Begin(wanted[target], dim) - longest, {},
                                         [&](size_t i) { return Begin(saved[i], dim); });
    for (; next != order.end() && Begin(saved[*next], dim) < End(wanted[target], dim); ++next) {
      if (std::optional<Box> both = Overlap(saved[*next], wanted[target])) reads.push_back({*next, target, *both});
    }
    std::sort(reads.begin() + static_cast<std::ptrdiff_t>(first_read), reads.end(),
              [](const Read& one, const Read& other) { return one.saved < other.saved; });
  }
  return reads;
}

}  // namespace shardcts::reference
