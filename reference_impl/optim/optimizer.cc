#include "optim/optimizer.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

namespace shardcts::reference {
namespace {

class Sgd : public Optimizer {
 public:
  Sgd(std::vector<models::ParameterPtr> parameters, const SgdOptions& options)
      : Optimizer(std::move(parameters)), options_(options), momentum_buffers_(parameters_.size()) {}

 protected:
  void StepOne(size_t index, at::Tensor value, at::Tensor grad) override {
    if (options_.weight_decay != 0) grad = grad.add(value, options_.weight_decay);
    if (options_.momentum != 0) {
      at::Tensor& buffer = momentum_buffers_[index];
      if (buffer.defined()) {
        buffer.mul_(options_.momentum).add_(grad, 1);
      } else {
        buffer = grad.detach().clone();
      }
      grad = buffer;
    }
    value.add_(grad, -options_.lr);
  }

 private:
  SgdOptions options_;
  std::vector<at::Tensor> momentum_buffers_;  // undefined until the first step
};

class Adam : public Optimizer {
 public:
  Adam(std::vector<models::ParameterPtr> parameters, const AdamOptions& options)
      : Optimizer(std::move(parameters)), options_(options), states_(parameters_.size()) {}

 protected:
  void StepOne(size_t index, at::Tensor value, at::Tensor grad) override {
    State& state = states_[index];
    if (!state.exp_avg.defined()) {
      state.exp_avg = at::zeros_like(value);
      state.exp_avg_sq = at::zeros_like(value);
    }
    state.step += 1;
    if (options_.weight_decay != 0 && options_.decoupled_weight_decay) {
      value.mul_(1 - options_.lr * options_.weight_decay);
    } else if (options_.weight_decay != 0) {
      grad = grad.add(value, options_.weight_decay);
    }
    state.exp_avg.lerp_(grad, 1 - options_.beta1);
    state.exp_avg_sq.mul_(options_.beta2).addcmul_(grad, grad, 1 - options_.beta2);

    const double bias_correction1 = 1 - std::pow(options_.beta1, state.step);
    const double bias_correction2 = 1 - std::pow(options_.beta2, state.step);
    const double step_size = options_.lr / bias_correction1;
    const at::Tensor denominator =
        (state.exp_avg_sq.sqrt() / std::pow(bias_correction2, 0.5)).add_(options_.eps);
    value.addcdiv_(state.exp_avg, denominator, -step_size);
  }

 private:
  struct State {
    double step = 0;
    at::Tensor exp_avg;     // undefined until the first step
    at::Tensor exp_avg_sq;
  };

  AdamOptions options_;
  std::vector<State> states_;
};

}  // namespace

void Optimizer::Step() {
  at::NoGradGuard no_grad;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& value = parameters_[i]->value;
    if (value.grad().defined()) StepOne(i, value, value.grad());
  }
}

void Optimizer::ZeroGrad() {
  for (const models::ParameterPtr& parameter : parameters_) parameter->value.mutable_grad() = at::Tensor();
}

std::unique_ptr<Optimizer> MakeSgd(std::vector<models::ParameterPtr> parameters, const SgdOptions& options) {
  return std::make_unique<Sgd>(std::move(parameters), options);
}

std::unique_ptr<Optimizer> MakeAdam(std::vector<models::ParameterPtr> parameters, const AdamOptions& options) {
  return std::make_unique<Adam>(std::move(parameters), options);
}

}  // namespace shardcts::reference
