// UpdateRule: how an optimizer changes one parameter in one step. Each rule follows the floating-point operations of
// PyTorch's single-tensor form one by one, so that equal inputs give equal bits. Everything here is *Local*.
// Semantics: torch.optim.sgd._single_tensor_sgd, torch.optim.adam._single_tensor_adam, torch 2.13.
#pragma once

#include <memory>

#include "contract/value.h"

namespace shardcts::reference {

class UpdateRule {
 public:
  virtual ~UpdateRule() = default;
  // All hyper-parameters with their defaults, under PyTorch's names and in its order.
  virtual const Dict& defaults() const = 0;
  // One step of `value`, in place, without autograd recording. `state` is this parameter's, empty before its first
  // step; entries that the rule does not know are not changed. TypeError: a hyper-parameter of another type.
  virtual void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const = 0;
  // Converts state from a state dict to the form that Update expects. KeyError: a required entry is missing.
  virtual void Adopt(Dict& state) const {}
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

// A hyper-parameter as PyTorch's defaults have it: the zeros are ints.
inline Value HyperParameter(double value) { return value == 0 ? Value(0) : Value(value); }

// State: momentum_buffer (shaped like the parameter); without momentum none.
std::unique_ptr<UpdateRule> MakeSgdRule(const SgdOptions& options);
// State: step (float32, no dimensions), exp_avg and exp_avg_sq (shaped like the parameter); with amsgrad
// max_exp_avg_sq.
std::unique_ptr<UpdateRule> MakeAdamRule(const AdamOptions& options);

}  // namespace shardcts::reference
