// MeshRegistry: the meshes of one implementation instance, found by their layout.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tensor/device_mesh.h"

namespace shardcts::reference {

// At the contract a DTensor is a plain value that describes its mesh. When it comes back, the registry finds the mesh
// with its communicators. It keeps root meshes alive and creates each only once.
class MeshRegistry {
 public:
  // *Collective* over `world` unless a root of this layout exists (ranks agree on that, because all make the same
  // calls). Errors as DeviceMesh::Create.
  std::shared_ptr<DeviceMesh> GetOrCreate(Communicator& world, const std::string& device_type,
                                          const std::vector<int64_t>& shape,
                                          const std::vector<std::string>& dim_names);
  // The same over some ranks of the world (DeviceMesh::CreateAmong).
  std::shared_ptr<DeviceMesh> GetOrCreateAmong(Communicator& world, const std::string& device_type,
                                               const std::vector<int64_t>& shape,
                                               const std::vector<std::string>& dim_names,
                                               const std::vector<int64_t>& ranks);

  // *Local*. The mesh with this layout: a known root, or a selection of dimensions of one. RuntimeError when there is
  // none.
  std::shared_ptr<DeviceMesh> Find(const MeshLayout& layout) const;

 private:
  std::vector<std::shared_ptr<DeviceMesh>> roots_;
};

}  // namespace shardcts::reference
