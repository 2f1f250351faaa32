#include "wrappers/checkpoint_wrapper.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/autograd.h>
#include <torch/custom_class.h>

#include <set>
#include <utility>

#include "state_dict/state_dict.h"

namespace shardcts::reference {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What backward needs to run the module again.
struct Recomputation : torch::CustomClassHolder {
  models::Module* module = nullptr;
  std::vector<models::ParameterPtr> parameters;  // with their values in forward
  size_t input_count = 0;
};
using RecomputationPtr = c10::intrusive_ptr<Recomputation>;

constexpr char kRecomputation[] = "recomputation";

// The parameters that forward uses, down to units, which gather and reduce their own. A dummy parameter represents
// those of units, so that autograd knows that the output depends on something.
void CollectParameters(models::Module& module, std::set<models::Parameter*>& seen,
                       std::vector<models::ParameterPtr>& into) {
  if (dynamic_cast<StateDictHooks*>(&module)) {
    into.push_back(std::make_shared<models::Parameter>(models::Parameter{at::zeros({}).set_requires_grad(true)}));
    return;
  }
  for (const auto* members : {&std::as_const(module).parameters(), &module.hidden_parameters()}) {
    for (const auto& [name, parameter] : *members) {
      if (seen.insert(parameter.get()).second) into.push_back(parameter);
    }
  }
  for (const auto& [name, child] : module.children()) CollectParameters(*child, seen, into);
}

at::Tensor AsLeaf(const at::Tensor& tensor) {
  if (!tensor.defined()) return tensor;
  at::Tensor leaf = tensor.detach();
  leaf.set_requires_grad(tensor.requires_grad());
  return leaf;
}

// Replaces the parameters by leaves during its lifetime.
class ParametersAsLeaves {
 public:
  explicit ParametersAsLeaves(const std::vector<models::ParameterPtr>& parameters) : parameters_(parameters) {
    for (const models::ParameterPtr& parameter : parameters_) {
      values_.push_back(parameter->value);
      parameter->value = AsLeaf(parameter->value);
    }
  }
  ~ParametersAsLeaves() {
    for (size_t i = 0; i < parameters_.size(); ++i) parameters_[i]->value = values_[i];
  }

 private:
  const std::vector<models::ParameterPtr>& parameters_;
  std::vector<at::Tensor> values_;
};

// Inputs and parameters are arguments of one function, so that autograd knows what the output depends on.
struct Checkpoint : torch::autograd::Function<Checkpoint> {
  static at::Tensor forward(AutogradContext* context, at::TensorList arguments, RecomputationPtr recomputation) {
    const variable_list inputs(arguments.begin(), arguments.begin() + recomputation->input_count);
    context->save_for_backward(inputs);
    context->saved_data[kRecomputation] = c10::IValue::make_capsule(recomputation);
    return recomputation->module->CallAll(inputs);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto recomputation =
        c10::static_intrusive_pointer_cast<Recomputation>(context->saved_data[kRecomputation].toCapsule());
    variable_list leaves;
    for (const at::Tensor& input : context->get_saved_variables()) leaves.push_back(AsLeaf(input));
    const ParametersAsLeaves parameters(recomputation->parameters);
    {
      at::AutoGradMode with_gradients(true);
      const at::Tensor output = recomputation->module->CallAll(leaves);
      torch::autograd::backward({output}, {gradients[0]});
    }
    for (const models::ParameterPtr& parameter : recomputation->parameters) leaves.push_back(parameter->value);
    variable_list results;
    for (const at::Tensor& leaf : leaves) results.push_back(leaf.defined() ? leaf.grad() : at::Tensor());
    results.emplace_back();  // of the recomputation
    return results;
  }
};

}  // namespace

CheckpointWrapper::CheckpointWrapper(models::ModulePtr wrapped) : ModuleOf("CheckpointWrapper") {
  RegisterChild(kCheckpointChild, std::move(wrapped));
}

at::Tensor CheckpointWrapper::ForwardAll(std::vector<at::Tensor> inputs) {
  models::Module& wrapped = *children().front().second;
  if (!at::GradMode::is_enabled()) return wrapped.CallAll(std::move(inputs));
  auto recomputation = c10::make_intrusive<Recomputation>();
  recomputation->module = &wrapped;
  recomputation->input_count = inputs.size();
  std::set<models::Parameter*> seen;
  CollectParameters(wrapped, seen, recomputation->parameters);
  for (const models::ParameterPtr& parameter : recomputation->parameters) inputs.push_back(parameter->value);
  return Checkpoint::apply(at::TensorList(inputs), recomputation);
}

}  // namespace shardcts::reference
