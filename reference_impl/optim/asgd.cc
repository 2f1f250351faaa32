#include <ATen/ATen.h>

#include <algorithm>

#include "optim/rule_state.h"
#include "optim/update_rule.h"

namespace shardcts::reference {
namespace {

// Averaged stochastic gradient descent: `ax` is the average of the values since step t0.
class Asgd : public UpdateRule {
 public:
  explicit Asgd(Dict options) : defaults_(std::move(options)) {}
  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (state.empty()) {
      state = Dict{{"step", CounterOf(0)}, {"eta", CounterOf(LearningRate(options).value())}, {"mu", CounterOf(1)},
                   {"ax", ZerosLike(value)}};
    }
    grad = AsReal(Downhill(grad, options));
    value = AsReal(value);
    at::Tensor average = AsReal(Entry(state, "ax"));
    const double step = NextStep(state);
    grad = Decayed(value, grad, options);
    const double lambd = Number(options, "lambd");
    at::Tensor eta = Entry(state, "eta");
    at::Tensor mu = Entry(state, "mu");
    ScaleInPlace(value, 1 - lambd * eta.item<double>());
    value.add_(grad, -eta.item<double>());
    if (mu.item<double>() != 1) {
      average.add_(value.sub(average).mul_(mu));
    } else {
      average.copy_(value);
    }
    const Rate lr = LearningRate(options);
    eta.fill_((lr / Power(1 + lr * lambd * step, Number(options, "alpha"))).value());
    mu.fill_(1 / std::max(1.0, step - Number(options, "t0")));
  }

  void Adopt(Dict& state) const override {
    for (const char* counter : {"step", "eta", "mu"}) AdoptCounter(state, counter);
  }

 private:
  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeAsgdRule(Dict options) { return std::make_unique<Asgd>(std::move(options)); }

}  // namespace shardcts::reference
