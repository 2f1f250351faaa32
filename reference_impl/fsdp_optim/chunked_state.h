// State in a SHARDED state dict: each rank's chunk of each member's state.
#pragma once

#include <span>
#include <vector>

#include "fsdp/range_exchange.h"
#include "fsdp_optim/model_parameters.h"

namespace shardcts::reference {

// *Local*. The placements of a tensor that is sharded along dimension 0 over the shard group, which is the last
// dimension of the mesh.
std::vector<Placement> ChunkPlacements(const DeviceMesh& mesh);

// *Local*. A ShardedTensor of this shape, or a DTensor if there is a mesh; `local` is this rank's chunk along dimension
// 0.
Value ChunkedValue(const at::Tensor& local, const std::vector<int64_t>& shape, const UnitMembers& unit);

// What the ranks of the shard group hold of one state of a unit, as ranges of the flat parameter.
struct StateRuns {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  RangesByRank have;             // the same on all ranks
  std::vector<at::Tensor> mine;  // this rank's, 1-D
};
// *Collective* over the shard group. The value of each of the members: chunks in newly allocated memory; the full value
// of a member without dimensions. Ranks send each other the elements that are missing.
std::vector<Value> ChunksOf(const StateRuns& state, const UnitMembers& unit, const std::vector<size_t>& members);

}  // namespace shardcts::reference
