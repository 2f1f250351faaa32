#include "tensor/mesh_registry.h"

#include <algorithm>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// The mesh over the named dimensions of a root, in the given order; nullptr if one is missing or named twice.
std::shared_ptr<DeviceMesh> Selection(DeviceMesh& root, const std::vector<std::string>& dim_names) {
  const std::vector<std::string>& known = root.layout().dim_names;
  std::shared_ptr<DeviceMesh> selection;
  for (size_t i = 0; i < dim_names.size(); ++i) {
    const bool repeated = std::find(dim_names.begin(), dim_names.begin() + i, dim_names[i]) != dim_names.begin() + i;
    if (repeated || std::find(known.begin(), known.end(), dim_names[i]) == known.end()) return nullptr;
    const std::shared_ptr<DeviceMesh> dim = root.Submesh({dim_names[i]});
    selection = selection ? Concatenate(*selection, *dim) : dim;
  }
  return selection;
}

}  // namespace

std::shared_ptr<DeviceMesh> MeshRegistry::GetOrCreate(Communicator& world, const std::string& device_type,
                                                      const std::vector<int64_t>& shape,
                                                      const std::vector<std::string>& dim_names) {
  const MeshLayout layout{device_type, shape, dim_names, world.global_ranks()};
  for (const std::shared_ptr<DeviceMesh>& root : roots_) {
    if (root->layout() == layout) return root;
  }
  roots_.push_back(DeviceMesh::Create(world, device_type, shape, dim_names));
  return roots_.back();
}

std::shared_ptr<DeviceMesh> MeshRegistry::GetOrCreateAmong(Communicator& world, const std::string& device_type,
                                                           const std::vector<int64_t>& shape,
                                                           const std::vector<std::string>& dim_names,
                                                           const std::vector<int64_t>& ranks) {
  const MeshLayout layout{device_type, shape, dim_names, ranks};
  for (const std::shared_ptr<DeviceMesh>& root : roots_) {
    if (root->layout() == layout) return root;
  }
  roots_.push_back(DeviceMesh::CreateAmong(world, device_type, shape, dim_names, ranks));
  return roots_.back();
}

std::shared_ptr<DeviceMesh> MeshRegistry::Find(const MeshLayout& layout) const {
  for (const std::shared_ptr<DeviceMesh>& root : roots_) {
    if (root->layout() == layout) return root;
    if (!root->IsMember()) continue;
    const std::shared_ptr<DeviceMesh> selection = Selection(*root, layout.dim_names);
    if (selection && selection->layout() == layout) return selection;
  }
  throw SemanticError("RuntimeError", "no mesh " + layout.ToString() + " was made here");
}

}  // namespace shardcts::reference
