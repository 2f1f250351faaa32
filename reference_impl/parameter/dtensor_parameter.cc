#include "parameter/dtensor_parameter.h"

#include <ATen/ATen.h>

namespace shardcts::reference {

models::ParameterPtr MakeDTensorParameter(const DTensor& tensor, bool requires_grad) {
  auto distribution = std::make_shared<DTensorDistribution>();
  distribution->mesh = tensor.mesh;
  distribution->placements = tensor.placements;
  distribution->shape = tensor.shape;
  distribution->stride = tensor.stride;
  at::Tensor value = tensor.local.detach();
  value.set_requires_grad(requires_grad);
  return std::make_shared<models::Parameter>(models::Parameter{value, distribution});
}

const DTensorDistribution* FindDistribution(const models::Parameter& parameter) {
  return dynamic_cast<const DTensorDistribution*>(parameter.distribution.get());
}

DTensor WithDistribution(const DTensorDistribution& distribution, at::Tensor local) {
  return DTensor{std::move(local), distribution.mesh, distribution.placements, distribution.shape,
                 distribution.stride};
}

}  // namespace shardcts::reference
