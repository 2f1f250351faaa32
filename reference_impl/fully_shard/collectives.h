// The two collectives of a parameter group. Semantics: foreach_all_gather and foreach_reduce in
// torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <vector>

#include "fully_shard/sharded_parameter.h"

namespace shardcts::reference {

// *Collective* over the mesh's shard group. Fills the unsharded form of all parameters with one all-gather.
void AllGatherParameters(const std::vector<std::unique_ptr<ShardedParameter>>& parameters,
                         const DataParallelMesh& mesh);

struct GradientOf {
  ShardedParameter* parameter = nullptr;
  at::Tensor gradient;  // of the unsharded form
};

// *Collective* over the mesh: one reduce-scatter over the shard group and, if the mesh replicates, one all-reduce over
// the replicate group. The sharded forms get the average of the gradients over all ranks of the mesh, in the original
// dtype. `reduce_dtype`: the dtype of the reduction; nullopt: the dtype of the gradients. AssertionError: gradients of
// different dtypes.
void ReduceGradients(const std::vector<GradientOf>& gradients, const DataParallelMesh& mesh,
                     std::optional<at::ScalarType> reduce_dtype);

}  // namespace shardcts::reference
