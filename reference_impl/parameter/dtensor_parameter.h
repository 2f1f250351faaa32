// How a model's parameter is a DTensor: the value of models::Parameter::distribution. Everything here is *Local*.
#pragma once

#include <memory>
#include <vector>

#include "models/module.h"
#include "tensor/dtensor.h"

namespace shardcts::reference {

// A DTensor without its local part, which is the parameter's value.
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

// The DTensor with this distribution and this local part: the parameter's value, or its gradient.
DTensor WithDistribution(const DTensorDistribution& distribution, at::Tensor local);

}  // namespace shardcts::reference
