// Adagrad, RMSprop and Adadelta: each element's step is divided by the size of its past gradients.
#include <ATen/ATen.h>

#include "optim/rule_state.h"
#include "optim/update_rule.h"

namespace shardcts::reference {
namespace {

class Adagrad : public UpdateRule {
 public:
  explicit Adagrad(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  Dict StateAtCreation(const at::Tensor& value, const Dict& options) const override {
    const double initial = Number(options, "initial_accumulator_value");
    const c10::Scalar filled = value.is_complex() ? c10::Scalar(c10::complex<double>(initial, initial)) : c10::Scalar(initial);
    return Dict{{"step", CounterOf(0)}, {"sum", at::full_like(value, filled)}};
  }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (state.empty()) state = StateAtCreation(value, options);
    const double step = NextStep(state);
    grad = AsReal(Decayed(value, Downhill(grad, options), options));
    const Rate rate = LearningRate(options) / (1 + (step - 1) * Number(options, "lr_decay"));
    at::Tensor sum = AsReal(Entry(state, "sum"));
    sum.addcmul_(grad, grad, 1);
    AsReal(value).addcdiv_(grad, sum.sqrt().add_(Number(options, "eps")), (-rate).value());
  }

  void Adopt(Dict& state) const override { AdoptCounter(state, "step"); }

 private:
  Dict defaults_;
};

class RmsProp : public UpdateRule {
 public:
  explicit RmsProp(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    const double momentum = Number(options, "momentum");
    if (state.empty()) Initialize(value, momentum > 0, Flag(options, "centered"), state);
    grad = Downhill(grad, options);
    NextStep(state);
    grad = AsReal(Decayed(value, grad, options));
    value = AsReal(value);
    const at::Tensor average = Average(grad, state, options).add_(Number(options, "eps"));
    const double rate = (-LearningRate(options)).value();
    if (momentum > 0) {
      at::Tensor buffer = AsReal(Entry(state, "momentum_buffer"));
      value.add_(ScaleInPlace(buffer, momentum).addcdiv_(grad, average), rate);
    } else {
      value.addcdiv_(grad, average, rate);
    }
  }

  void Adopt(Dict& state) const override { AdoptCounter(state, "step"); }

 private:
  static void Initialize(const at::Tensor& value, bool has_momentum, bool is_centered, Dict& state) {
    state.Set("step", CounterOf(0));
    state.Set("square_avg", ZerosLike(value));
    if (has_momentum) state.Set("momentum_buffer", ZerosLike(value));
    if (is_centered) state.Set("grad_avg", ZerosLike(value));
  }

  static at::Tensor Average(const at::Tensor& grad, const Dict& state, const Dict& options) {
    const double alpha = Number(options, "alpha");
    at::Tensor squares = AsReal(Entry(state, "square_avg"));
    ScaleInPlace(squares, alpha).addcmul_(grad, grad, 1 - alpha);
    if (!Flag(options, "centered")) return squares.sqrt();
    at::Tensor mean = AsReal(Entry(state, "grad_avg"));
    mean.lerp_(grad, 1 - alpha);
    return squares.addcmul(mean, mean, -1).sqrt_();
  }

  Dict defaults_;
};

class Adadelta : public UpdateRule {
 public:
  explicit Adadelta(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (state.empty()) {
      state = Dict{{"step", CounterOf(0)}, {"square_avg", ZerosLike(value)}, {"acc_delta", ZerosLike(value)}};
    }
    NextStep(state);
    grad = AsReal(Decayed(value, Downhill(grad, options), options));
    const double rho = Number(options, "rho");
    const double eps = Number(options, "eps");
    at::Tensor squares = AsReal(Entry(state, "square_avg"));
    at::Tensor deltas = AsReal(Entry(state, "acc_delta"));
    ScaleInPlace(squares, rho).addcmul_(grad, grad, 1 - rho);
    const at::Tensor deviation = squares.add(eps).sqrt_();
    at::Tensor delta = deltas.add(eps).sqrt_();
    delta.div_(deviation).mul_(grad);
    ScaleInPlace(deltas, rho).addcmul_(delta, delta, 1 - rho);
    AsReal(value).add_(delta, (-LearningRate(options)).value());
  }

  void Adopt(Dict& state) const override { AdoptCounter(state, "step"); }

 private:
  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeAdagradRule(Dict options) { return std::make_unique<Adagrad>(std::move(options)); }
std::unique_ptr<UpdateRule> MakeRmsPropRule(Dict options) { return std::make_unique<RmsProp>(std::move(options)); }
std::unique_ptr<UpdateRule> MakeAdadeltaRule(Dict options) { return std::make_unique<Adadelta>(std::move(options)); }

}  // namespace shardcts::reference
