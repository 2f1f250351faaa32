// The layout of sharded parameters according to the specification, computed without the implementation under test. All
// functions are *Local*. Source: fully_shard's documentation and the placements that upstream's tests rely on.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "contract/value.h"

namespace shardcts::fully_shard_state_dict {

struct ExpectedParameter {
  std::string name;
  std::vector<int64_t> shape;         // global
  std::vector<Placement> placements;  // one per mesh dimension
};

// A sharded model: its mesh and parameters in registration order.
struct ExpectedLayout {
  MeshLayout mesh;
  std::vector<ExpectedParameter> parameters;

  std::vector<std::string> Names() const;
};

// A mesh of all ranks in row-major order.
MeshLayout WorldMesh(const std::string& device_type, const std::vector<int64_t>& shape,
                     const std::vector<std::string>& dim_names);

// The first of the dimensions with the largest size.
int64_t LargestDim(const std::vector<int64_t>& shape);

// Placement of `parameter` of an MLP under the plan in_proj colwise, out_proj rowwise.
Placement TensorParallelPlacement(const std::string& parameter);

// [FSDP on dim 0, tensor parallel]: tensor parallel splits first, FSDP splits each part. The FSDP placement is a
// strided shard if both split dim 0 over more than one rank.
std::vector<Placement> FsdpOnTensorParallel(const Placement& tensor_parallel, int64_t tensor_parallel_size);

// Whether every split of the tensor is even.
bool SplitsEvenly(const ExpectedParameter& parameter, const MeshLayout& mesh);

// A tensor in which every element differs from all elements of all parameters: 1000 * `index` + the element's row-major
// position, float32 on the CPU, exact below 2^24.
at::Tensor PositionCoded(const std::vector<int64_t>& shape, int64_t index);

}  // namespace shardcts::fully_shard_state_dict
