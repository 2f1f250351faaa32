// Layout: the arithmetic of chunks. A chunk of a tensor is a box of its index space. Pure functions, all *Local*; only
// numbers go in, so layouts of any number of ranks can be computed on one.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace shardcts::reference {

// Elements, one offset and one size for each dimension of the tensor; none for a tensor without dimensions, which is
// one element.
struct Box {
  std::vector<int64_t> offsets;
  std::vector<int64_t> sizes;
  auto operator<=>(const Box&) const = default;
};

Box WholeBox(const std::vector<int64_t>& shape);
int64_t NumElements(const std::vector<int64_t>& sizes);
bool IsEmpty(const Box& box);
std::string BoxText(const Box& box);  // "[0:3, 2:4]"

// What both have; nullopt: nothing. Both are boxes of the same tensor.
std::optional<Box> Overlap(const Box& one, const Box& other);

// What is wrong with these chunks of a tensor of this shape, a line each: another number of dimensions, a negative
// number, a chunk that leaves the shape, two that overlap, elements that are in none. Empty: they tile the shape. Empty
// chunks are allowed. At most `kMaxTilingProblems` lines. Overflows are impossible whatever the numbers are, as long as
// the product of the shape is not beyond 2^63.
inline constexpr size_t kMaxTilingProblems = 10;
std::vector<std::string> TilingProblems(const std::vector<int64_t>& shape, const std::vector<Box>& chunks);

// Part of a saved chunk that a wanted one needs.
struct Read {
  size_t saved = 0;   // index
  size_t wanted = 0;  // index
  Box box;            // in coordinates of the whole tensor; not empty
  bool operator==(const Read&) const = default;
};
// Ascending by wanted, then by saved.
std::vector<Read> PlanReads(const std::vector<Box>& saved, const std::vector<Box>& wanted);

}  // namespace shardcts::reference
