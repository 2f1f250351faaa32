// The data-parallel dimensions of a mesh, as fully_shard uses them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "tensor/device_mesh.h"

namespace shardcts::reference {

class DataParallelMesh {
 public:
  // *Local*. ValueError: neither 1-D nor 2-D. AssertionError: 2-D without dimension names.
  explicit DataParallelMesh(std::shared_ptr<DeviceMesh> mesh);

  // All *Local*.
  const std::shared_ptr<DeviceMesh>& mesh() const { return mesh_; }
  at::Device device() const;
  Communicator& shard_group() const { return mesh_->group(shard_dim_); }
  int64_t shard_count() const { return mesh_->Size(shard_dim_); }
  int64_t shard_rank() const { return mesh_->coordinate().at(shard_dim_); }
  bool replicates() const { return mesh_->NumDims() == 2; }
  Communicator& replicate_group() const { return mesh_->group(0); }  // only when replicates()
  // [Shard(dim)], or [Replicate, Shard(dim)].
  std::vector<Placement> PlacementsFor(int64_t dim) const;

 private:
  std::shared_ptr<DeviceMesh> mesh_;
  int64_t shard_dim_;
};

}  // namespace shardcts::reference
