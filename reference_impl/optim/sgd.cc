#include <ATen/ATen.h>

#include "optim/update_rule.h"

namespace shardcts::reference {
namespace {

class Sgd : public UpdateRule {
 public:
  explicit Sgd(const SgdOptions& options)
      : defaults_{{"lr", options.lr},
                  {"momentum", HyperParameter(options.momentum)},
                  {"dampening", 0},
                  {"weight_decay", HyperParameter(options.weight_decay)},
                  {"nesterov", false},
                  {"maximize", false},
                  {"foreach", nullptr},
                  {"differentiable", false},
                  {"fused", nullptr}} {}

  const Dict& defaults() const override { return defaults_; }

  void Update(at::Tensor value, at::Tensor grad, Dict& state, const Dict& options) const override {
    if (options.At("maximize").AsBool()) grad = -grad;
    const double weight_decay = options.At("weight_decay").AsDouble();
    if (weight_decay != 0) grad = grad.add(value, weight_decay);
    const double momentum = options.At("momentum").AsDouble();
    if (momentum != 0) {
      const at::Tensor buffer = NextBuffer(grad, momentum, options.At("dampening").AsDouble(), state);
      grad = options.At("nesterov").AsBool() ? grad.add(buffer, momentum) : buffer;
    }
    value.add_(grad, -options.At("lr").AsDouble());
  }

 private:
  static at::Tensor NextBuffer(const at::Tensor& grad, double momentum, double dampening, Dict& state) {
    const Value* known = state.Find("momentum_buffer");
    if (known && !known->IsNone()) {
      at::Tensor buffer = known->AsTensor();
      return buffer.mul_(momentum).add_(grad, 1 - dampening);
    }
    at::Tensor buffer = grad.detach().clone();
    state.Set("momentum_buffer", buffer);
    return buffer;
  }

  Dict defaults_;
};

}  // namespace

std::unique_ptr<UpdateRule> MakeSgdRule(const SgdOptions& options) { return std::make_unique<Sgd>(options); }

}  // namespace shardcts::reference
