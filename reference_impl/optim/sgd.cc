#include <ATen/ATen.h>

#include "optim/rule_state.h"
#include "optim/update_rule.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

class Sgd : public UpdateRule {
 public:
  explicit Sgd(Dict options) : defaults_(std::move(options)) {
    if (!Flag(defaults_, "nesterov")) return;
    if (Number(defaults_, "momentum") > 0 && Number(defaults_, "dampening") == 0) return;
    throw SemanticError("ValueError", "Nesterov momentum requires a momentum and zero dampening");
  }

  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    grad = Decayed(value, Downhill(grad, options), options);
    const double momentum = Number(options, "momentum");
    if (momentum != 0) {
      const at::Tensor buffer = NextBuffer(grad, momentum, Number(options, "dampening"), state);
      grad = Flag(options, "nesterov") ? grad.add(buffer, momentum) : buffer;
    }
    value.add_(grad, (-LearningRate(options)).value());
  }

 private:
  static at::Tensor NextBuffer(const at::Tensor& grad, double momentum, double dampening, Dict& state) {
    const Value* known = state.Find("momentum_buffer");
    if (known && !known->IsNone()) {
      at::Tensor buffer = known->AsTensor();
      return ScaleInPlace(buffer, momentum).add_(grad, 1 - dampening);
    }
    at::Tensor buffer = grad.detach().clone();
    state.Set("momentum_buffer", buffer);
    return buffer;
  }

  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeSgdRule(Dict options) { return std::make_unique<Sgd>(std::move(options)); }

std::unique_ptr<UpdateRule> MakeSgdRule(const SgdOptions& given) {
  Dict options = DefaultOptions("sgd");
  options.Set("lr", given.lr);
  options.Set("momentum", given.momentum);
  options.Set("weight_decay", given.weight_decay);
  return MakeSgdRule(std::move(options));
}

}  // namespace shardcts::reference
