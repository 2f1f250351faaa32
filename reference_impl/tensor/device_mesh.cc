#include "tensor/device_mesh.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <set>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

void CheckArguments(int world_size, const std::vector<int64_t>& shape, const std::vector<std::string>& dim_names) {
  int64_t size = 1;
  for (int64_t dim_size : shape) {
    if (dim_size < 1) throw SemanticError("RuntimeError", "a mesh dimension of size " + std::to_string(dim_size));
    size *= dim_size;
  }
  if (shape.empty() || size != world_size) {
    throw SemanticError("RuntimeError", "a mesh of " + std::to_string(size) + " ranks over a world of " +
                                            std::to_string(world_size));
  }
  if (dim_names.empty()) return;
  if (dim_names.size() != shape.size()) {
    throw SemanticError("RuntimeError", std::to_string(dim_names.size()) + " names for " +
                                            std::to_string(shape.size()) + " mesh dimensions");
  }
  if (std::set<std::string>(dim_names.begin(), dim_names.end()).size() != dim_names.size()) {
    throw SemanticError("RuntimeError", "the names of mesh dimensions must differ from each other");
  }
}

// The row-major stride of each dimension.
std::vector<int64_t> RankStrides(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (int64_t dim = static_cast<int64_t>(shape.size()) - 2; dim >= 0; --dim) {
    strides[dim] = strides[dim + 1] * shape[dim + 1];
  }
  return strides;
}

}  // namespace

std::shared_ptr<DeviceMesh> DeviceMesh::Create(Communicator& world, const std::string& device_type,
                                               const std::vector<int64_t>& shape,
                                               const std::vector<std::string>& dim_names) {
  CheckArguments(world.size(), shape, dim_names);
  std::shared_ptr<DeviceMesh> mesh(new DeviceMesh);
  mesh->layout_ = {device_type, shape, dim_names, world.global_ranks()};
  mesh->root_dims_.resize(shape.size());
  std::iota(mesh->root_dims_.begin(), mesh->root_dims_.end(), 0);
  const std::vector<int64_t> strides = RankStrides(shape);
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    const int64_t index = world.rank() / strides[dim] % shape[dim];
    mesh->coordinate_.push_back(index);
    // The group's first rank names the group.
    const int64_t first = world.rank() - index * strides[dim];
    mesh->groups_.push_back(world.Split(static_cast<int>(first), static_cast<int>(index)));
  }
  return mesh;
}

std::shared_ptr<DeviceMesh> DeviceMesh::CreateAmong(Communicator& world, const std::string& device_type,
                                                    const std::vector<int64_t>& shape,
                                                    const std::vector<std::string>& dim_names,
                                                    const std::vector<int64_t>& ranks) {
  CheckArguments(static_cast<int>(ranks.size()), shape, dim_names);
  int color = -1;
  int key = 0;
  for (size_t i = 0; i < ranks.size(); ++i) {
    const bool is_repeated = std::count(ranks.begin(), ranks.end(), ranks[i]) > 1;
    if (is_repeated || ranks[i] < 0 || ranks[i] >= world.size()) {
      throw SemanticError("ValueError", "ranks of a mesh must be different ranks of the world");
    }
    if (ranks[i] != world.rank()) continue;
    color = 0;
    key = static_cast<int>(i);
  }
  const std::shared_ptr<Communicator> members = world.Split(color, key);
  if (members) {
    const std::shared_ptr<DeviceMesh> mesh = Create(*members, device_type, shape, dim_names);
    mesh->all_ = members;
    return mesh;
  }
  std::shared_ptr<DeviceMesh> outside(new DeviceMesh);
  outside->layout_ = {device_type, shape, dim_names, ranks};
  return outside;
}

std::shared_ptr<DeviceMesh> DeviceMesh::Select(std::shared_ptr<const DeviceMesh> root, std::vector<int64_t> root_dims) {
  std::shared_ptr<DeviceMesh> mesh(new DeviceMesh);
  const std::vector<int64_t> strides = RankStrides(root->shape());
  mesh->layout_.device_type = root->layout_.device_type;
  int64_t first = 0;  // row-major position of the rank that has our coordinate outside and 0 inside the selection
  for (int64_t dim = 0; dim < root->NumDims(); ++dim) {
    const bool selected = std::find(root_dims.begin(), root_dims.end(), dim) != root_dims.end();
    if (!selected) first += root->coordinate_[dim] * strides[dim];
  }
  std::vector<int64_t> positions = {first};
  for (int64_t dim : root_dims) {
    mesh->layout_.shape.push_back(root->Size(dim));
    if (!root->layout_.dim_names.empty()) mesh->layout_.dim_names.push_back(root->layout_.dim_names[dim]);
    mesh->coordinate_.push_back(root->coordinate_[dim]);
    std::vector<int64_t> next;
    for (int64_t position : positions) {
      for (int64_t index = 0; index < root->Size(dim); ++index) next.push_back(position + index * strides[dim]);
    }
    positions = std::move(next);
  }
  for (int64_t position : positions) mesh->layout_.ranks.push_back(root->layout_.ranks[position]);
  mesh->root_dims_ = std::move(root_dims);
  mesh->root_ = std::move(root);
  return mesh;
}

std::shared_ptr<DeviceMesh> DeviceMesh::Submesh(const std::vector<std::string>& dim_names) {
  if (layout_.dim_names.empty()) {
    throw SemanticError("RuntimeError", "cannot slice a mesh whose dimensions have no names");
  }
  if (dim_names == layout_.dim_names) return shared_from_this();
  std::vector<int64_t> root_dims;
  int64_t last = -1;
  for (const std::string& name : dim_names) {
    const auto found = std::find(layout_.dim_names.begin(), layout_.dim_names.end(), name);
    if (found == layout_.dim_names.end()) {
      throw SemanticError("KeyError", "no dimension '" + name + "' in mesh " + layout_.ToString());
    }
    const int64_t dim = found - layout_.dim_names.begin();
    if (std::count(dim_names.begin(), dim_names.end(), name) > 1) {
      throw SemanticError("RuntimeError", "a slice names dimension '" + name + "' twice");
    }
    if (dim < last) throw SemanticError("KeyError", "dimension '" + name + "' is not in the order of the mesh");
    last = dim;
    root_dims.push_back(root_dims_[dim]);
  }
  if (root_dims.empty()) throw SemanticError("KeyError", "a slice of a mesh needs at least one dimension");
  return Select(SharedRoot(), std::move(root_dims));
}

std::shared_ptr<DeviceMesh> Concatenate(const DeviceMesh& first, const DeviceMesh& second) {
  if (&first.root() != &second.root()) {
    throw SemanticError("RuntimeError", "cannot concatenate meshes derived from different meshes");
  }
  std::vector<int64_t> root_dims = first.root_dims_;
  root_dims.insert(root_dims.end(), second.root_dims_.begin(), second.root_dims_.end());
  if (std::set<int64_t>(root_dims.begin(), root_dims.end()).size() != root_dims.size()) {
    throw SemanticError("RuntimeError", "cannot concatenate overlapping meshes " + first.layout().ToString() + " and " +
                                            second.layout().ToString());
  }
  return DeviceMesh::Select(first.SharedRoot(), std::move(root_dims));
}

}  // namespace shardcts::reference
