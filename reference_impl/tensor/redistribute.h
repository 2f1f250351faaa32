// From full tensors to distributed ones, back, and between placements. Semantics:
// torch.distributed.tensor.distribute_tensor, DTensor.full_tensor, DTensor.redistribute.
//
// None of these records autograd history; results are detached. Local parts of results are contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "tensor/dtensor.h"

namespace shardcts::reference {

// *Collective* over the mesh. Distributes `full`, which must have the same shape and dtype on every rank; the values
// are those of the rank at coordinate (0, ..., 0). The local part of the result has storage of its own, and
// requires_grad as `full`. Partial: the reduction of all ranks' values is the full tensor again; for "sum" each rank
// gets an equal share. A tensor on the meta device stays there, and nothing is communicated.
// ValueError: number of placements, or a partial placement other than sum, avg, min, max. IndexError: shard dim.
DTensor DistributeTensor(const at::Tensor& full, std::shared_ptr<DeviceMesh> mesh,
                         const std::vector<Placement>& placements);

// *Collective* over the mesh. The full tensor on every rank: shards are joined in order, partial values are reduced;
// replicas are not compared, each rank uses its own. Shares storage with `tensor.local` only if every placement is
// Replicate.
at::Tensor FullTensor(const DTensor& tensor);

// *Collective* over the meshes, with the same tensors in the same order on all ranks. FullTensor of each, with fewer
// synchronizations: many tensors sharded by rows over a 1-D mesh are gathered at once, if the backend has a direct
// exchange.
std::vector<at::Tensor> FullTensors(const std::vector<DTensor>& tensors);

// *Collective* over the mesh. FullTensor on the rank at coordinate (0, ..., 0), where it shares no storage with a part
// that was sharded. The result of other ranks must not be used. Rows over a 1-D mesh are sent to that rank only.
at::Tensor FullTensorOnFirst(const DTensor& tensor);

// *Collective* over the mesh, unless the placements are equal: then the result has the same local part, without
// communication. Tensor dimensions and mesh dimensions that both sides place in the same way are not gathered. Errors
// as DistributeTensor; NotImplementedError: a partial value whose reduction no communicator supports.
DTensor Redistribute(const DTensor& tensor, const std::vector<Placement>& placements);

}  // namespace shardcts::reference
