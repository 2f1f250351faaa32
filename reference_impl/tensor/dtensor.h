// DTensor: one rank's part of a distributed tensor, with the metadata of the full tensor. Semantics:
// torch.distributed.tensor.DTensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "contract/value.h"
#include "tensor/device_mesh.h"
#include "tensor/mesh_registry.h"

namespace shardcts::reference {

// A plain value; copies share the storage of `local`, which also carries the autograd history.
struct DTensor {
  at::Tensor local;                  // the local part, without padding; its shape is given by sharding.h
  std::shared_ptr<DeviceMesh> mesh;
  std::vector<Placement> placements;  // one per mesh dimension, dims >= 0
  std::vector<int64_t> shape;         // global
  std::vector<int64_t> stride;        // global, of the unsharded tensor
};

// *Local*. A DTensor with contiguous global stride and this local part. `shape` is the global shape.
DTensor MakeDTensor(at::Tensor local, std::shared_ptr<DeviceMesh> mesh, std::vector<Placement> placements,
                    std::vector<int64_t> shape);

// *Local*. Converts to the contract's value and back; storage is shared both ways.
shardcts::DTensor ToContract(const DTensor& tensor, bool is_parameter);
// RuntimeError: the registry does not know the mesh, or the local part does not have the shape that the placements
// give.
DTensor FromContract(const shardcts::DTensor& tensor, const MeshRegistry& meshes);

// *Local*. The strides of a contiguous tensor of this shape.
std::vector<int64_t> ContiguousStride(const std::vector<int64_t>& shape);

}  // namespace shardcts::reference
