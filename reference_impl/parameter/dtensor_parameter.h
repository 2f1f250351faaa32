// How a model's parameter is a DTensor: what hangs on models::Parameter::distribution. Everything here is *Local*.
#pragma once

#include <memory>
#include <vector>

#include "models/module.h"
#include "tensor/dtensor.h"

namespace shardcts::reference {

// All of a DTensor but its local part, which is the parameter's value.
struct DTensorDistribution : models::Distribution {
  std::shared_ptr<DeviceMesh> mesh;
  std::vector<Placement> placements;
  std::vector<int64_t> shape;   // global
  std::vector<int64_t> stride;  // global
};

// A parameter whose value is a leaf that shares storage with tensor.local.
models::ParameterPtr MakeDTensorParameter(const DTensor& tensor, bool requires_grad = true);

// nullptr when the parameter is a plain tensor.
const DTensorDistribution* FindDistribution(const models::Parameter& parameter);

// The DTensor that the distribution makes of `local`: the parameter's value, or its gradient.
DTensor WithDistribution(const DTensorDistribution& distribution, at::Tensor local);

}  // namespace shardcts::reference
