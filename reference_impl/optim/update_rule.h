// UpdateRule: how an optimizer changes one parameter in one step. Each rule follows the floating-point operations of
// PyTorch's single-tensor form one by one, so that equal inputs give equal bits. Everything here is *Local*.
// Semantics: the functions _single_tensor_* of torch.optim, torch 2.13.
#pragma once

#include <memory>
#include <string>

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
  // The state that a parameter has from the beginning.
  virtual Dict StateAtCreation(const at::Tensor& /*value*/, const Dict& /*options*/) const { return {}; }
  // Called at the end of each step with the state of all parameters, for state under no parameter.
  virtual void UpdateWhole(Dict& /*state*/) const {}
  // Converts state from a state dict to the form that Update expects. KeyError: a required entry is missing.
  virtual void Adopt(Dict& /*state*/) const {}
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

// The defaults of a kind of the contract ("sgd"), under PyTorch's names and in its order. ValueError: an unknown kind.
Dict DefaultOptions(const std::string& kind);

// Each of all options under PyTorch's names. State has these entries; where nothing else is said they are shaped like
// the parameter, and `step`, `mu_product`, `eta` and `mu` are float32 without dimensions.
//
//   SGD        momentum_buffer with a momentum, otherwise none. ValueError: nesterov without momentum, or with dampening
//   Adam       step, exp_avg, exp_avg_sq; with amsgrad max_exp_avg_sq
//   Adagrad    step, sum, from the beginning
//   RMSprop    step, square_avg; with a momentum momentum_buffer; centered grad_avg
//   NAdam      step, mu_product, exp_avg, exp_avg_sq
//   RAdam      step, exp_avg, exp_avg_sq
//   ASGD       step, eta, mu, ax
//   Adamax     step, exp_avg, exp_inf
//   Adadelta   step, square_avg, acc_delta
std::unique_ptr<UpdateRule> MakeSgdRule(Dict options);
std::unique_ptr<UpdateRule> MakeSgdRule(const SgdOptions& options);
std::unique_ptr<UpdateRule> MakeAdamRule(Dict options);
std::unique_ptr<UpdateRule> MakeAdamRule(const AdamOptions& options);
std::unique_ptr<UpdateRule> MakeAdagradRule(Dict options);
std::unique_ptr<UpdateRule> MakeRmsPropRule(Dict options);
std::unique_ptr<UpdateRule> MakeNAdamRule(Dict options);
std::unique_ptr<UpdateRule> MakeRAdamRule(Dict options);
std::unique_ptr<UpdateRule> MakeAsgdRule(Dict options);
std::unique_ptr<UpdateRule> MakeAdamaxRule(Dict options);
std::unique_ptr<UpdateRule> MakeAdadeltaRule(Dict options);

// For tests: the value is stepped along `moment`, the sum of its gradients. State: count (int), seen (true), label
// ("nested"), nothing (none), total (float32, no dimensions), pair (float32, (2)), moment, levels {1: {two: {2: like
// the parameter, twice the moment}}}, items [like the parameter, three times the moment; "text", 3, false].
std::unique_ptr<UpdateRule> MakeNestedStateRule(Dict options);
// For tests: plain descent, with state under no parameter: global {count (int), history (float32, (3))}.
std::unique_ptr<UpdateRule> MakeGlobalStateRule(Dict options);

}  // namespace shardcts::reference
