#include <ATen/ATen.h>

#include <cmath>

#include "optim/update_rule.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

at::Tensor StepTensor(double step) { return at::full({}, step, at::kFloat); }

class Adam : public UpdateRule {
 public:
  explicit Adam(const AdamOptions& options)
      : defaults_{{"lr", options.lr},
                  {"betas", List{options.beta1, options.beta2}},
                  {"eps", options.eps},
                  {"weight_decay", HyperParameter(options.weight_decay)},
                  {"amsgrad", false},
                  {"maximize", false},
                  {"foreach", nullptr},
                  {"capturable", false},
                  {"differentiable", false},
                  {"fused", nullptr},
                  {"decoupled_weight_decay", options.decoupled_weight_decay}} {}

  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    const bool amsgrad = options.At("amsgrad").AsBool();
    if (state.empty()) Initialize(value, amsgrad, state);
    if (options.At("maximize").AsBool()) grad = -grad;
    const double step = Entry(state, "step").add_(1).item<double>();
    const double lr = options.At("lr").AsDouble();
    grad = Decayed(value, grad, lr, options);

    const List& betas = options.At("betas").AsList();
    const double beta1 = betas.at(0).AsDouble();
    const double beta2 = betas.at(1).AsDouble();
    at::Tensor exp_avg = Entry(state, "exp_avg");
    at::Tensor exp_avg_sq = Entry(state, "exp_avg_sq");
    exp_avg.lerp_(grad, 1 - beta1);
    exp_avg_sq.mul_(beta2).addcmul_(grad, grad, 1 - beta2);
    if (amsgrad) {
      at::Tensor largest = Entry(state, "max_exp_avg_sq");
      exp_avg_sq = at::maximum_out(largest, largest, exp_avg_sq);
    }

    const double bias_correction1 = 1 - std::pow(beta1, step);
    const double bias_correction2 = 1 - std::pow(beta2, step);
    const at::Tensor denominator =
        (exp_avg_sq.sqrt() / std::pow(bias_correction2, 0.5)).add_(options.At("eps").AsDouble());
    value.addcdiv_(exp_avg, denominator, -(lr / bias_correction1));
  }

  // Older state dicts hold the step as a number.
  void Adopt(Dict& state) const override {
    if (state.empty()) return;
    Value* step = state.Find("step");
    if (!step) throw SemanticError("KeyError", "'step'");
    if (!step->TryAs<Tensor>()) *step = StepTensor(step->AsDouble());
  }

 private:
  static void Initialize(const at::Tensor& value, bool amsgrad, Dict& state) {
    state.Set("step", StepTensor(0));
    state.Set("exp_avg", at::zeros_like(value));
    state.Set("exp_avg_sq", at::zeros_like(value));
    if (amsgrad) state.Set("max_exp_avg_sq", at::zeros_like(value));
  }
  static at::Tensor Entry(const Dict& state, const char* name) {
    const Value* entry = state.Find(name);
    if (!entry) throw SemanticError("KeyError", "'" + std::string(name) + "'");
    return entry->AsTensor();
  }
  // Weight decay, applied to the value itself or as part of the gradient.
  static at::Tensor Decayed(at::Tensor value, const at::Tensor& grad, double lr, const Dict& options) {
    const double weight_decay = options.At("weight_decay").AsDouble();
    if (weight_decay == 0) return grad;
    if (!options.At("decoupled_weight_decay").AsBool()) return grad.add(value, weight_decay);
    value.mul_(1 - lr * weight_decay);
    return grad;
  }

  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeAdamRule(const AdamOptions& options) { return std::make_unique<Adam>(options); }

}  // namespace shardcts::reference
