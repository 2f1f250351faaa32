#include "tensor/dtensor.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "tensor/semantic_error.h"
#include "tensor/sharding.h"

namespace shardcts::reference {

std::vector<int64_t> ContiguousStride(const std::vector<int64_t>& shape) {
  std::vector<int64_t> stride(shape.size(), 1);
  for (int64_t dim = static_cast<int64_t>(shape.size()) - 2; dim >= 0; --dim) {
    // A dimension without elements counts as one, as in torch.
    stride[dim] = stride[dim + 1] * std::max(shape[dim + 1], int64_t{1});
  }
  return stride;
}

DTensor MakeDTensor(at::Tensor local, std::shared_ptr<DeviceMesh> mesh, std::vector<Placement> placements,
                    std::vector<int64_t> shape) {
  std::vector<int64_t> stride = ContiguousStride(shape);
  return {std::move(local), std::move(mesh), std::move(placements), std::move(shape), std::move(stride)};
}

shardcts::DTensor ToContract(const DTensor& tensor, bool is_parameter) {
  return {tensor.local, tensor.mesh->layout(), tensor.placements, tensor.shape, tensor.stride,
          tensor.local.requires_grad(), is_parameter};
}

DTensor FromContract(const shardcts::DTensor& tensor, const MeshRegistry& meshes) {
  DTensor result{tensor.local, meshes.Find(tensor.mesh), {}, tensor.shape, tensor.stride};
  result.placements = NormalizePlacements(tensor.placements, tensor.shape.size(), result.mesh->NumDims());
  const std::vector<int64_t> expected =
      LocalShape(tensor.shape, result.mesh->shape(), result.mesh->coordinate(), result.placements);
  if (tensor.local.sizes() != at::IntArrayRef(expected)) {
    throw SemanticError("RuntimeError", "a DTensor of shape " + ShapeToString(tensor.shape) + " placed " +
                                            ToString(result.placements) + " has local part " +
                                            ShapeToString(tensor.local.sizes()) + " here, not " +
                                            ShapeToString(expected));
  }
  return result;
}

}  // namespace shardcts::reference
