// Saved state in chunks: what a rank has of each member's state in a SHARDED state dict.
#pragma once

#include <span>
#include <vector>

#include "fsdp/range_exchange.h"
#include "fsdp_optim/model_parameters.h"

namespace shardcts::reference {

// *Local*. The placements of a tensor that is cut along dimension 0 over the shard group, the mesh's last dimension.
std::vector<Placement> ChunkPlacements(const DeviceMesh& mesh);

// *Local*. A ShardedTensor, with a mesh a DTensor, of this shape: this rank's chunk along dimension 0 is `local`.
Value ChunkedValue(const at::Tensor& local, const std::vector<int64_t>& shape, const UnitMembers& unit);

// What the ranks of the shard group have of one state of a unit, as elements of the flat parameter.
struct StateRuns {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  RangesByRank have;             // the same on all ranks
  std::vector<at::Tensor> mine;  // this rank's, 1-D
};
// *Collective* over the shard group. Of each of the members, its value: chunks on memory that is nobody's else; a
// member without dimensions whole. Ranks send each other what they lack.
std::vector<Value> ChunksOf(const StateRuns& state, const UnitMembers& unit, const std::vector<size_t>& members);

}  // namespace shardcts::reference
