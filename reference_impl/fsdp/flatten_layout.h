// Where parameters are in a flat parameter, and which part of it each rank keeps: arithmetic without tensors.
// Everything here is *Local*. Semantics: FlatParamHandle._init_flat_param_and_metadata, _get_shard and
// _get_shard_metadata in torch/distributed/fsdp/_flat_param.py, torch 2.13.
//
//   flat      | p0 p0 p0 p0 | a a | p1 p1 p1 | … | z |        a: alignment, z: only with alignment
//   shards    |  rank 0     |  rank 1     |  rank 2  0 0 |    each of ceil(numel / ranks) elements, zeros at the end
#pragma once

#include <cstdint>
#include <vector>

namespace shardcts::reference {

// A range of elements.
struct FlatRange {
  int64_t begin = 0;
  int64_t numel = 0;
  int64_t end() const { return begin + numel; }
  bool operator==(const FlatRange&) const = default;
};

// Which elements of one parameter a rank's shard holds; numel is 0 if it holds none.
struct FlatSlice {
  int64_t begin_in_parameter = 0;
  int64_t begin_in_shard = 0;
  int64_t numel = 0;
  bool operator==(const FlatSlice&) const = default;
};

struct FlattenLayout {
  std::vector<FlatRange> parameters;  // in flattening order
  std::vector<FlatRange> padding;     // alignment: between parameters and at the end
  int64_t numel = 0;                  // of the flat parameter, alignment included
  int64_t ranks = 1;

  // Elements of each rank's shard, padding included.
  int64_t ShardNumel() const;
  // ranks * ShardNumel(): the size of an all-gather of the shards.
  int64_t PaddedNumel() const { return ranks * ShardNumel(); }
  // The elements of the flat parameter in this rank's shard; numel is 0 on a rank past the last element.
  FlatRange Owned(int64_t rank) const;
  // The number of padding elements at the end of this rank's shard.
  int64_t PaddingOf(int64_t rank) const { return ShardNumel() - Owned(rank).numel; }
  FlatSlice SliceOf(size_t parameter, int64_t rank) const;
};

// `ranks`: those that share the flat parameter, one with NO_SHARD. `aligned_numel` > 0: every parameter begins at a
// multiple of it, and the total is a multiple of `group_size`, also with NO_SHARD. 0: parameters follow each other without a gap.
FlattenLayout LayOut(const std::vector<int64_t>& numels, int64_t aligned_numel, int64_t ranks, int64_t group_size);

}  // namespace shardcts::reference
