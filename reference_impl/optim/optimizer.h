// SGD, Adam and AdamW. Each follows the floating-point operations of PyTorch's single-tensor form one by one, so that
// equal inputs give equal bits. Everything here is *Local*: a sharded parameter is stepped shard by shard.
// Semantics: torch.optim.sgd._single_tensor_sgd, torch.optim.adam._single_tensor_adam.
#pragma once

#include <memory>
#include <vector>

#include "models/module.h"

namespace shardcts::reference {

class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Updates every parameter that has a gradient, in place.
  void Step();
  // Drops the gradients of all parameters.
  void ZeroGrad();

 protected:
  explicit Optimizer(std::vector<models::ParameterPtr> parameters) : parameters_(std::move(parameters)) {}
  // `index` is the parameter's place in the list given at construction; called without autograd recording.
  virtual void StepOne(size_t index, at::Tensor value, at::Tensor grad) = 0;

  std::vector<models::ParameterPtr> parameters_;
};

struct SgdOptions {
  double lr = 1e-3;
  double momentum = 0;
  double weight_decay = 0;
};

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;              // PyTorch's default for AdamW is 1e-2
  bool decoupled_weight_decay = false;  // true: AdamW
};

std::unique_ptr<Optimizer> MakeSgd(std::vector<models::ParameterPtr> parameters, const SgdOptions& options);
std::unique_ptr<Optimizer> MakeAdam(std::vector<models::ParameterPtr> parameters, const AdamOptions& options);

}  // namespace shardcts::reference
