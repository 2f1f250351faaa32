// What each rank holds of a distributed tensor by what the contract says, and the whole that these parts make up:
// computed without the implementation under test. All functions are *Local*. Source: the documentation of the placements
// of torch.distributed.tensor, and the metadata of ShardedTensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "contract/value.h"

namespace shardcts {

// The part of `full` that `rank` holds: split from the last mesh dimension to the first, each split in ceil-sized
// chunks, later ranks with fewer rows or none. A view of `full`.
at::Tensor LocalSlice(const at::Tensor& full, const MeshLayout& mesh, const std::vector<Placement>& placements,
                      int64_t rank);

// The whole tensor on the CPU, without gradient, from what each rank holds of it: `of_ranks` has the value that a global
// rank has at this place; those outside the tensor's mesh, or process group, do not count. Throws ContractViolation naming
// the rank when a part does not fit what its tensor says, ranks say different things of one tensor, replicas differ, or
// the parts are not the whole.
at::Tensor Assemble(const DTensor& tensor, const std::vector<Value>& of_ranks);
at::Tensor Assemble(const ShardedTensor& tensor, const std::vector<Value>& of_ranks);

}  // namespace shardcts
