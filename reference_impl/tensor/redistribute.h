// From whole tensors to distributed ones, back, and between placements.
// Semantics: torch.distributed.tensor.distribute_tensor, DTensor.full_tensor, DTensor.redistribute.
//
// None of these records autograd history; results are detached. Local parts of results are contiguous.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "tensor/dtensor.h"

namespace shardcts::reference {

// *Collective* over the mesh. Splits `full`, which must have the same shape and dtype on every rank; the values are
// those of the mesh's rank at coordinate (0, ..., 0). The result's local part has storage of its own, requires_grad
// as `full`. Partial: each rank gets values that the reduction makes the whole ones again; for "sum" an equal share.
// A tensor on the meta device stays there, nothing is communicated.
// ValueError: number of placements, or a partial placement other than sum, avg, min, max. IndexError: shard dim.
DTensor DistributeTensor(const at::Tensor& full, std::shared_ptr<DeviceMesh> mesh,
                         const std::vector<Placement>& placements);

// *Collective* over the mesh. The whole tensor on every rank: shards in order, partial values reduced; replicas are
// taken as they are, rank by rank. Shares storage with `tensor.local` only if every placement is Replicate.
at::Tensor FullTensor(const DTensor& tensor);

// *Collective* over the meshes, with the same tensors in the same order on all ranks. FullTensor of each, with fewer
// meetings of the ranks: rows over a 1-D mesh go many tensors at once, where the backend has a direct way.
std::vector<at::Tensor> FullTensors(const std::vector<DTensor>& tensors);

// *Collective* over the mesh. FullTensor on the mesh's rank at coordinate (0, ..., 0), where it shares no storage with a
// part that was cut; what other ranks get is of no use. Rows over a 1-D mesh go nowhere else.
at::Tensor FullTensorOnFirst(const DTensor& tensor);

// *Collective* over the mesh, unless the placements are equal: then the same local part, without communication.
// Tensor dimensions and mesh dimensions that both sides place alike are not gathered.
// Errors as DistributeTensor; NotImplementedError: a partial value whose reduction no communicator has.
DTensor Redistribute(const DTensor& tensor, const std::vector<Placement>& placements);

}  // namespace shardcts::reference
