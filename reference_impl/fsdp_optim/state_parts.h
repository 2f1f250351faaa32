// The part of a member's state that a rank keeps: which elements these are, and how they come to it. For units that are
// sharded.
#pragma once

#include <vector>

#include "fsdp_optim/model_parameters.h"

namespace shardcts::reference {

// One member of a unit.
struct Member {
  const UnitMembers& unit;
  size_t index = 0;

  // Elements of the flat parameter: those of the member that a rank of the shard group keeps, all that its chunk of
  // dimension 0 has. RuntimeError, of Rows: a member without dimensions.
  FlatRange Kept(int64_t rank) const;
  FlatRange Rows(int64_t rank) const { return unit.flat().RowsOf(index, rank); }
};

// Each of these puts this rank's part of a state tensor into `place`: 1-D, of the tensor's dtype, with as many elements
// as Kept says.
//
// *Local*. Out of a whole tensor.
void CopyPart(const at::Tensor& whole, const Member& member, const at::Tensor& place);
// *Collective* over the shard group, each of whose ranks has `chunk`, its chunk of dimension 0. Ranks send each other
// what they lack.
void ExchangeParts(const at::Tensor& chunk, const Member& member, const at::Tensor& place);
// *Collective* over the group, whose first rank has the whole tensor and sends each rank its part; elsewhere
// `whole` only says how large it is. shard_ranks[r]: of the group's rank r, its rank in the shard group of its unit.
void ScatterParts(const at::Tensor& whole, const Member& member, const std::vector<int64_t>& shard_ranks,
                  Communicator& group, const at::Tensor& place);

}  // namespace shardcts::reference
