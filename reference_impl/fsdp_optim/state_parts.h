// The part of a member's state that a rank keeps: which elements these are, and how the rank gets them. For sharded
// units.
#pragma once

#include <vector>

#include "fsdp_optim/model_parameters.h"

namespace shardcts::reference {

// One member of a unit.
struct Member {
  const UnitMembers& unit;
  size_t index = 0;

  // Elements of the flat parameter. Kept: those of the member that a rank of the shard group keeps. Rows: those of its
  // chunk of dimension 0; RuntimeError: a member without dimensions.
  FlatRange Kept(int64_t rank) const;
  FlatRange Rows(int64_t rank) const { return unit.flat().RowsOf(index, rank); }
};

// Each function below writes this rank's part of a state tensor to `place`: 1-D, of the tensor's dtype, with the number
// of elements of Kept.
//
// *Local*. From a full tensor.
void CopyPart(const at::Tensor& whole, const Member& member, const at::Tensor& place);
// *Collective* over the shard group; `chunk` is each rank's chunk of dimension 0. Ranks send each other the elements
// that are missing.
void ExchangeParts(const at::Tensor& chunk, const Member& member, const at::Tensor& place);
// *Collective* over the group, whose first rank has the full tensor and sends each rank its part; on other ranks only
// the shape of `whole` is used. shard_ranks[r]: for rank r of the group, its rank in the shard group of its unit.
void ScatterParts(const at::Tensor& whole, const Member& member, const std::vector<int64_t>& shard_ranks,
                  Communicator& group, const at::Tensor& place);

}  // namespace shardcts::reference
