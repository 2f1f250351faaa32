// The part of a distributed tensor that each rank holds according to the contract, and the full tensor that these parts
// form. Both are computed without the implementation under test. All functions are *Local*. Source: the documentation
// of the placements of torch.distributed.tensor, and the metadata of ShardedTensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "contract/value.h"

namespace shardcts {

// The part of `full` that `rank` holds: split by one mesh dimension after the other, each time into ceil-sized chunks;
// the last ranks have fewer rows or none. A strided shard splits after the later mesh dimensions that its split factor
// stands for, or, where there are none, each of as many chunks: then a rank has several ranges of rows. A view of
// `full`, or a copy of such ranges.
at::Tensor LocalSlice(const at::Tensor& full, const MeshLayout& mesh, const std::vector<Placement>& placements,
                      int64_t rank);

// The full tensor on the CPU, without gradient, from the parts of all ranks: `of_ranks[r]` is the value that global
// rank r has for this tensor. Ranks outside the tensor's mesh or process group are ignored. Throws ContractViolation
// naming the rank when a part does not match its tensor's metadata, ranks disagree on the metadata, replicas differ, or
// the parts do not cover the tensor.
at::Tensor Assemble(const DTensor& tensor, const std::vector<Value>& of_ranks);
at::Tensor Assemble(const ShardedTensor& tensor, const std::vector<Value>& of_ranks);

}  // namespace shardcts
