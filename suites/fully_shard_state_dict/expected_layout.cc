#include "suites/fully_shard_state_dict/expected_layout.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <numeric>

namespace shardcts::fully_shard_state_dict {
std::vector<std::string> ExpectedLayout::Names() const {
  std::vector<std::string> names;
  for (const ExpectedParameter& parameter : parameters) names.push_back(parameter.name);
  return names;
}

MeshLayout WorldMesh(const std::string& device_type, const std::vector<int64_t>& shape,
                     const std::vector<std::string>& dim_names) {
  MeshLayout mesh{device_type, shape, dim_names, {}};
  mesh.ranks.resize(mesh.Size());
  std::iota(mesh.ranks.begin(), mesh.ranks.end(), 0);
  return mesh;
}

int64_t LargestDim(const std::vector<int64_t>& shape) {
  return std::max_element(shape.begin(), shape.end()) - shape.begin();
}

Placement TensorParallelPlacement(const std::string& parameter) {
  if (parameter.find("in_proj") != std::string::npos) return Placement::Shard(0);
  return parameter.ends_with("weight") ? Placement::Shard(1) : Placement::Replicate();
}

std::vector<Placement> FsdpOnTensorParallel(const Placement& tensor_parallel, int64_t tensor_parallel_size) {
  const bool same_dim = tensor_parallel.IsShard() && tensor_parallel.dim == 0;
  if (same_dim && tensor_parallel_size > 1) {
    return {Placement::StridedShard(0, tensor_parallel_size), tensor_parallel};
  }
  return {Placement::Shard(0), tensor_parallel};
}

bool SplitsEvenly(const ExpectedParameter& parameter, const MeshLayout& mesh) {
  std::vector<int64_t> sizes = parameter.shape;
  for (size_t d = parameter.placements.size(); d-- > 0;) {
    const Placement& placement = parameter.placements[d];
    if (!placement.IsShard()) continue;
    if (sizes[placement.dim] % mesh.shape[d] != 0) return false;
    sizes[placement.dim] /= mesh.shape[d];
  }
  return true;
}

at::Tensor PositionCoded(const std::vector<int64_t>& shape, int64_t index) {
  const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return (at::arange(count, at::kFloat) + 1000.0 * static_cast<double>(index)).reshape(shape);
}

}  // namespace shardcts::fully_shard_state_dict
