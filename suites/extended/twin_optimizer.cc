// Alone in its file: LibTorch's optimizers take long to compile.
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include "rank/session.h"
#include "suites/extended/twin.h"

namespace shardcts::extended {
namespace {

using torch::optim::OptimizerParamGroup;

void SetIf(const std::optional<double>& value, const std::function<void(double)>& set) {
  if (value) set(*value);
}

torch::optim::SGDOptions SgdOptions(const OptimizerOptions& options) {
  torch::optim::SGDOptions made(options.lr.value_or(1e-3));
  SetIf(options.momentum, [&](double value) { made.momentum(value); });
  SetIf(options.weight_decay, [&](double value) { made.weight_decay(value); });
  return made;
}

template <class Options>
Options AdamLikeOptions(const OptimizerOptions& options) {
  Options made(options.lr.value_or(1e-3));
  made.betas({options.beta1.value_or(0.9), options.beta2.value_or(0.999)});
  SetIf(options.eps, [&](double value) { made.eps(value); });
  SetIf(options.weight_decay, [&](double value) { made.weight_decay(value); });
  return made;
}

// What the group says, and what it leaves open as the optimizer says.
OptimizerOptions Merged(const OptimizerOptions& defaults, OptimizerOptions group) {
  const auto merge = [](std::optional<double>& value, const std::optional<double>& other) {
    if (!value) value = other;
  };
  merge(group.lr, defaults.lr);
  merge(group.momentum, defaults.momentum);
  merge(group.weight_decay, defaults.weight_decay);
  merge(group.beta1, defaults.beta1);
  merge(group.beta2, defaults.beta2);
  merge(group.eps, defaults.eps);
  return group;
}

std::unique_ptr<torch::optim::OptimizerOptions> OptionsFor(std::string_view kind, const OptimizerOptions& options) {
  if (kind == "sgd") return std::make_unique<torch::optim::SGDOptions>(SgdOptions(options));
  if (kind == "adam") {
    return std::make_unique<torch::optim::AdamOptions>(AdamLikeOptions<torch::optim::AdamOptions>(options));
  }
  if (kind == "adamw") {
    return std::make_unique<torch::optim::AdamWOptions>(AdamLikeOptions<torch::optim::AdamWOptions>(options));
  }
  throw HarnessError(fmt::format("a twin has no optimizer \"{}\"", kind));
}

std::unique_ptr<torch::optim::Optimizer> Make(std::string_view kind, const std::vector<OptimizerParamGroup>& groups) {
  if (kind == "sgd") return std::make_unique<torch::optim::SGD>(groups, torch::optim::SGDOptions(1e-3));
  if (kind == "adam") return std::make_unique<torch::optim::Adam>(groups);
  return std::make_unique<torch::optim::AdamW>(groups);
}

at::Tensor StepTensor(int64_t step) { return at::scalar_tensor(static_cast<double>(step), at::kFloat); }

template <class State>
Dict AdamLikeState(const torch::optim::OptimizerParamState& state) {
  const auto& adam = static_cast<const State&>(state);
  return {{"step", StepTensor(adam.step())}, {"exp_avg", adam.exp_avg()}, {"exp_avg_sq", adam.exp_avg_sq()}};
}

}  // namespace

struct TwinOptimizer::Impl {
  std::string kind;
  std::vector<std::pair<std::string, at::Tensor>> parameters;  // in the order of the groups
  std::unique_ptr<torch::optim::Optimizer> optimizer;
};

TwinOptimizer::TwinOptimizer(const Twin& twin, std::string_view kind, const OptimizerOptions& options,
                             const std::vector<ParameterGroup>& groups)
    : impl_(std::make_unique<Impl>()) {
  impl_->kind = kind;
  std::vector<OptimizerParamGroup> made;
  const auto add = [&](const std::vector<std::string>& names, const OptimizerOptions& of_group) {
    std::vector<at::Tensor> tensors;
    for (const std::string& name : names) {
      tensors.push_back(twin.Leaf(name));
      impl_->parameters.emplace_back(name, tensors.back());
    }
    made.emplace_back(std::move(tensors), OptionsFor(kind, Merged(options, of_group)));
  };
  if (groups.empty()) add(twin.Parameters().Keys(), {});
  for (const ParameterGroup& group : groups) add(group.parameters, group.options);
  impl_->optimizer = Make(kind, made);
}

TwinOptimizer::~TwinOptimizer() = default;

void TwinOptimizer::Step() { impl_->optimizer->step(); }

Dict TwinOptimizer::State() const {
  Dict all;
  const auto& states = impl_->optimizer->state();
  for (const auto& [name, tensor] : impl_->parameters) {
    const auto found = states.find(tensor.unsafeGetTensorImpl());
    if (found == states.end()) continue;
    if (impl_->kind == "adam") {
      all.Set(name, AdamLikeState<torch::optim::AdamParamState>(*found->second));
    } else if (impl_->kind == "adamw") {
      all.Set(name, AdamLikeState<torch::optim::AdamWParamState>(*found->second));
    } else {
      all.Set(name, Dict{{"momentum_buffer",
                          static_cast<const torch::optim::SGDParamState&>(*found->second).momentum_buffer()}});
    }
  }
  return all;
}

}  // namespace shardcts::extended
