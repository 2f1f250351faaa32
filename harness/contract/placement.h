// Placement and MeshLayout: how a distributed tensor is laid out over ranks, as plain values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

// How one mesh dimension lays out a tensor. Semantics: torch.distributed.tensor.placement_types.
// Text form, used in scripts, traces and arguments: "S(0)" shard of dim 0, "R" replicate, "P(sum)" partial,
// "_S(0,2)" strided shard of dim 0 with split factor 2 (a later mesh dimension has split that dim before).
struct Placement {
  enum class Kind { kShard, kReplicate, kPartial, kStridedShard };

  Kind kind = Kind::kReplicate;
  int64_t dim = 0;              // kShard, kStridedShard: the tensor dimension that is split
  int64_t split_factor = 1;     // kStridedShard
  std::string reduce_op;        // kPartial: "sum", "avg", ...

  static Placement Shard(int64_t dim) { return {Kind::kShard, dim, 1, {}}; }
  static Placement Replicate() { return {}; }
  static Placement Partial(std::string reduce_op = "sum") {
    return {Kind::kPartial, 0, 1, std::move(reduce_op)};
  }
  static Placement StridedShard(int64_t dim, int64_t split_factor) {
    return {Kind::kStridedShard, dim, split_factor, {}};
  }
  // Local. nullopt when the text is none of the four forms.
  static std::optional<Placement> Parse(std::string_view text);

  bool IsShard() const { return kind == Kind::kShard || kind == Kind::kStridedShard; }
  std::string ToString() const;
  bool operator==(const Placement&) const = default;
};

// "[S(0), R]"
std::string ToString(const std::vector<Placement>& placements);

// A device mesh as a value: an n-dimensional array of global ranks, row-major.
struct MeshLayout {
  std::string device_type;              // "cpu", "cuda", ...
  std::vector<int64_t> shape;           // one size per mesh dimension
  std::vector<std::string> dim_names;   // empty, or one name per mesh dimension
  std::vector<int64_t> ranks;           // product(shape) global ranks

  int64_t Size() const;                 // number of ranks
  int64_t NumDims() const { return static_cast<int64_t>(shape.size()); }
  // Local. This rank's index in each mesh dimension; nullopt when the rank is not in the mesh.
  std::optional<std::vector<int64_t>> Coordinate(int64_t rank) const;
  std::string ToString() const;         // "cpu(2x2 dp,tp)"
  bool operator==(const MeshLayout&) const = default;
};

}  // namespace shardcts
