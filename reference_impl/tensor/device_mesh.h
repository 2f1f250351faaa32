// DeviceMesh: an n-dimensional arrangement of all ranks with one communicator per dimension.
// Semantics: torch.distributed.device_mesh.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "contract/placement.h"

namespace shardcts::reference {

// Immutable. A mesh is its own root, or a selection of dimensions of its root. All communicators belong to the root:
// Create splits one group per dimension; submeshes only select among them, so taking a submesh never communicates.
class DeviceMesh : public std::enable_shared_from_this<DeviceMesh> {
 public:
  // *Collective* over `world`, same arguments on every rank; the mesh does not keep `world`. Ranks are laid out in
  // row-major order. `dim_names` is empty or has one unique name per dimension. RuntimeError: product(shape) is not the
  // world size; names are repeated, or not one per dimension.
  static std::shared_ptr<DeviceMesh> Create(Communicator& world, const std::string& device_type,
                                            const std::vector<int64_t>& shape,
                                            const std::vector<std::string>& dim_names);

  // *Collective* over `world`. The same over these ranks only, in row-major order; the other ranks of the world, which
  // call too, get a mesh that knows its layout and nothing else. RuntimeError also: not one rank for each element of
  // the shape. ValueError: ranks that are repeated, or not of the world.
  static std::shared_ptr<DeviceMesh> CreateAmong(Communicator& world, const std::string& device_type,
                                                 const std::vector<int64_t>& shape,
                                                 const std::vector<std::string>& dim_names,
                                                 const std::vector<int64_t>& ranks);

  // *Local*. The submesh along the named dimensions that contains this rank; the mesh itself when all are named.
  // KeyError: no name, an unknown one, or names not in this mesh's order. RuntimeError: the mesh has no names.
  std::shared_ptr<DeviceMesh> Submesh(const std::vector<std::string>& dim_names);

  // All below are *Local*.
  const MeshLayout& layout() const { return layout_; }
  const std::vector<int64_t>& shape() const { return layout_.shape; }
  int64_t NumDims() const { return layout_.NumDims(); }
  int64_t Size(int64_t mesh_dim) const { return layout_.shape.at(mesh_dim); }
  bool IsMember() const { return !coordinate_.empty(); }
  // This rank's index in each dimension of this mesh; empty outside the mesh.
  const std::vector<int64_t>& coordinate() const { return coordinate_; }
  // The ranks whose coordinates differ from this one in `mesh_dim` only; group rank == coordinate()[mesh_dim].
  Communicator& group(int64_t mesh_dim) const { return *root().groups_.at(root_dims_.at(mesh_dim)); }
  // The communicator of all ranks of the root; nullptr if these are the world.
  const std::shared_ptr<Communicator>& all() const { return root().all_; }
  const DeviceMesh& root() const { return root_ ? *root_ : *this; }
  // root() with ownership.
  std::shared_ptr<const DeviceMesh> SharedRoot() const { return root_ ? root_ : shared_from_this(); }

 private:
  friend std::shared_ptr<DeviceMesh> Concatenate(const DeviceMesh& first, const DeviceMesh& second);
  DeviceMesh() = default;
  // The mesh over the given dimensions of `root`, through this rank's coordinate in the others.
  static std::shared_ptr<DeviceMesh> Select(std::shared_ptr<const DeviceMesh> root, std::vector<int64_t> root_dims);

  std::shared_ptr<const DeviceMesh> root_;  // null in the root
  std::vector<int64_t> root_dims_;          // the index in the root of each dimension of this mesh
  MeshLayout layout_;
  std::vector<int64_t> coordinate_;
  std::vector<std::shared_ptr<Communicator>> groups_;  // in the root only, one per dimension
  std::shared_ptr<Communicator> all_;                  // in a root over some ranks only
};

// *Local*. The mesh over the dimensions of `first` followed by those of `second` (FSDP: data-parallel, then
// tensor-parallel). Source: DeviceMesh._concatenate.
// RuntimeError: different roots, or a dimension in both.
std::shared_ptr<DeviceMesh> Concatenate(const DeviceMesh& first, const DeviceMesh& second);

}  // namespace shardcts::reference
