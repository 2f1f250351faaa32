#include "fully_shard/data_parallel_mesh.h"

#include "tensor/semantic_error.h"

namespace shardcts::reference {

DataParallelMesh::DataParallelMesh(std::shared_ptr<DeviceMesh> mesh) : mesh_(std::move(mesh)) {
  const int64_t dims = mesh_->NumDims();
  if (dims != 1 && dims != 2) {
    throw SemanticError("ValueError",
                        "fully_shard expects a 1D or 2D DeviceMesh but got " + mesh_->layout().ToString());
  }
  if (dims == 2 && mesh_->layout().dim_names.empty()) {
    throw SemanticError("AssertionError", "Please init the 2D mesh for HSDP with mesh_dim_names specified");
  }
  shard_dim_ = dims - 1;
}

at::Device DataParallelMesh::device() const { return shard_group().device(); }

std::vector<Placement> DataParallelMesh::PlacementsFor(int64_t dim) const {
  if (replicates()) return {Placement::Replicate(), Placement::Shard(dim)};
  return {Placement::Shard(dim)};
}

}  // namespace shardcts::reference
