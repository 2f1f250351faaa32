#include <ATen/ATen.h>

#include <cmath>

#include "optim/rule_state.h"
#include "optim/update_rule.h"

namespace shardcts::reference {
namespace {

class Adam : public UpdateRule {
 public:
  explicit Adam(Dict options) : defaults_(std::move(options)) {}

  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    const bool amsgrad = Flag(options, "amsgrad");
    if (state.empty()) Initialize(value, amsgrad, state);
    grad = Downhill(grad, options);
    const double step = NextStep(state);
    grad = AsReal(Decayed(value, grad, options));
    value = AsReal(value);

    const double beta1 = Beta(options, 0);
    const double beta2 = Beta(options, 1);
    at::Tensor exp_avg = AsReal(Entry(state, "exp_avg"));
    at::Tensor exp_avg_sq = AsReal(Entry(state, "exp_avg_sq"));
    exp_avg.lerp_(grad, 1 - beta1);
    ScaleInPlace(exp_avg_sq, beta2).addcmul_(grad, grad, 1 - beta2);
    if (amsgrad) {
      at::Tensor largest = AsReal(Entry(state, "max_exp_avg_sq"));
      exp_avg_sq = at::maximum_out(largest, largest, exp_avg_sq);
    }

    const double bias_correction1 = 1 - std::pow(beta1, step);
    const double bias_correction2 = 1 - std::pow(beta2, step);
    const at::Tensor denominator =
        (exp_avg_sq.sqrt() / std::pow(bias_correction2, 0.5)).add_(Number(options, "eps"));
    value.addcdiv_(exp_avg, denominator, (-(LearningRate(options) / bias_correction1)).value());
  }

  void Adopt(Dict& state) const override { AdoptCounter(state, "step"); }

 private:
  static void Initialize(const at::Tensor& value, bool amsgrad, Dict& state) {
    state.Set("step", CounterOf(0));
    state.Set("exp_avg", ZerosLike(value));
    state.Set("exp_avg_sq", ZerosLike(value));
    if (amsgrad) state.Set("max_exp_avg_sq", ZerosLike(value));
  }

  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeAdamRule(Dict options) { return std::make_unique<Adam>(std::move(options)); }

std::unique_ptr<UpdateRule> MakeAdamRule(const AdamOptions& given) {
  Dict options = DefaultOptions(given.decoupled_weight_decay ? "adamw" : "adam");
  options.Set("lr", given.lr);
  options.Set("betas", List{given.beta1, given.beta2});
  options.Set("eps", given.eps);
  options.Set("weight_decay", given.weight_decay);
  return MakeAdamRule(std::move(options));
}

}  // namespace shardcts::reference
