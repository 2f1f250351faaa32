// NAdam, RAdam and Adamax: Adam with another momentum, with a rectified rate, and with the largest gradient in place of
// the mean square.
#include <ATen/ATen.h>

#include <cmath>

#include "optim/rule_state.h"
#include "optim/update_rule.h"

namespace shardcts::reference {
namespace {

struct Moments {
  at::Tensor exp_avg;
  at::Tensor exp_avg_sq;
};

Moments NextMoments(const at::Tensor& grad, const Dict& state, const Dict& options) {
  const double beta2 = Beta(options, 1);
  Moments moments{AsReal(Entry(state, "exp_avg")), AsReal(Entry(state, "exp_avg_sq"))};
  moments.exp_avg.lerp_(grad, 1 - Beta(options, 0));
  ScaleInPlace(moments.exp_avg_sq, beta2).addcmul_(grad, grad, 1 - beta2);
  return moments;
}

class NAdam : public UpdateRule {
 public:
  explicit NAdam(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (state.empty()) {
      state = Dict{{"step", CounterOf(0)}, {"mu_product", CounterOf(1)}, {"exp_avg", ZerosLike(value)},
                   {"exp_avg_sq", ZerosLike(value)}};
    }
    grad = AsReal(Downhill(grad, options));
    value = AsReal(value);
    const double step = NextStep(state);
    grad = Decayed(value, grad, options);
    const double mu = Momentum(step, options);
    const double next_mu = Momentum(step + 1, options);
    const double product = ScaleInPlace(Entry(state, "mu_product"), mu).item<double>();
    const Moments moments = NextMoments(grad, state, options);
    const double bias_correction2 = 1 - std::pow(Beta(options, 1), step);
    const at::Tensor denominator = moments.exp_avg_sq.div(bias_correction2).sqrt().add_(Number(options, "eps"));
    const Rate rate = -LearningRate(options);
    value.addcdiv_(grad, denominator, (rate * (1.0 - mu) / (1.0 - product)).value());
    value.addcdiv_(moments.exp_avg, denominator, (rate * next_mu / (1.0 - product * next_mu)).value());
  }

  void Adopt(Dict& state) const override {
    AdoptCounter(state, "step");
    AdoptCounter(state, "mu_product");
  }

 private:
  static double Momentum(double step, const Dict& options) {
    return Beta(options, 0) * (1.0 - 0.5 * std::pow(0.96, step * Number(options, "momentum_decay")));
  }

  Dict defaults_;
};

class RAdam : public UpdateRule {
 public:
  explicit RAdam(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (state.empty()) {
      state = Dict{{"step", CounterOf(0)}, {"exp_avg", ZerosLike(value)}, {"exp_avg_sq", ZerosLike(value)}};
    }
    grad = AsReal(Downhill(grad, options));
    value = AsReal(value);
    const double step = NextStep(state);
    grad = Decayed(value, grad, options);
    const Moments moments = NextMoments(grad, state, options);
    const double beta2 = Beta(options, 1);
    const double bias_correction1 = 1 - std::pow(Beta(options, 0), step);
    const double bias_correction2 = 1 - std::pow(beta2, step);
    // The length of the simple moving average that the exponential one stands for: in the limit, and now.
    const double limit = 2 / (1 - beta2) - 1;
    const double length = limit - 2 * step * std::pow(beta2, step) / bias_correction2;
    at::Tensor change = moments.exp_avg / bias_correction1 * LearningRate(options).value();
    if (length > 5.0) {
      const at::Tensor root = moments.exp_avg_sq.sqrt().add_(Number(options, "eps"));
      change = change * (at::reciprocal(root) * std::pow(bias_correction2, 0.5)) * Rectification(length, limit);
    }
    value.add_(change, -1.0);
  }

  void Adopt(Dict& state) const override { AdoptCounter(state, "step"); }

 private:
  static double Rectification(double length, double limit) {
    return std::pow((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length), 0.5);
  }

  Dict defaults_;
};

class Adamax : public UpdateRule {
 public:
  explicit Adamax(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (state.empty()) {
      state = Dict{{"step", CounterOf(0)}, {"exp_avg", ZerosLike(value)}, {"exp_inf", ZerosLike(value)}};
    }
    const double step = NextStep(state);
    grad = AsReal(Decayed(value, Downhill(grad, options), options));
    at::Tensor exp_avg = AsReal(Entry(state, "exp_avg"));
    at::Tensor exp_inf = AsReal(Entry(state, "exp_inf"));
    exp_avg.lerp_(grad, 1 - Beta(options, 0));
    at::maximum_out(exp_inf, ScaleInPlace(exp_inf, Beta(options, 1)), grad.abs().add_(Number(options, "eps")));
    const double bias_correction = 1 - std::pow(Beta(options, 0), step);
    AsReal(value).addcdiv_(exp_avg, exp_inf, (-(LearningRate(options) / bias_correction)).value());
  }

  void Adopt(Dict& state) const override { AdoptCounter(state, "step"); }

 private:
  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeNAdamRule(Dict options) { return std::make_unique<NAdam>(std::move(options)); }
std::unique_ptr<UpdateRule> MakeRAdamRule(Dict options) { return std::make_unique<RAdam>(std::move(options)); }
std::unique_ptr<UpdateRule> MakeAdamaxRule(Dict options) { return std::make_unique<Adamax>(std::move(options)); }

}  // namespace shardcts::reference
