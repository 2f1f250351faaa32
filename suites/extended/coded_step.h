// Training steps whose gradients are known exactly, and differ in every element and every step: the gradients of three
// linear layers side by side do not depend on their values. So the state that Adam makes of them is a closed formula.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "rank/trial.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {

// Linear layers "a", "b" and "c" side by side, of which the first and the last have equal shapes, (5, 3) and (5);
// those two are units. Without biases the shapes of all parameters are the same in reverse order.
ModelSpec ThreeBranches(bool bias = true);

// {name: gradient} of step number `step`, after averaging over ranks: W (o + 16 (step mod 4)) of row o of a bias, and
// that times 2^-6j of row o and column j of a weight. Rows are counted over all layers; both from 1. *Local*.
Dict CodedGradients(const Trial& t, int64_t step);
// Forward and backward of that step, the same on every rank. *Collective*.
void CodedBackward(Trial& t, Model& model, int64_t step);
// CodedBackward, a step of the optimizer, and no gradients are left. *Collective*.
void CodedStep(Trial& t, Model& model, Optimizer optimizer, int64_t step);

// beta1 1/2 and beta2 3/4: Adam's moments of coded gradients have no rounding errors. lr is 2^-10.
OptimizerOptions CodedAdam();

// What Adam keeps, by name and then by the names of PyTorch's state.
class ExpectedAdamState {
 public:
  // One step with these gradients; parameters without a gradient are left alone. *Local*.
  void Step(const Dict& gradients);
  const Dict& state() const { return state_; }
  // With step 1 and moments 0 of those of `parameters` that have no state.
  Dict CompletedFor(const Dict& parameters) const;

 private:
  Dict state_;
};

// The form in which whole optimizer state goes into a model under this wrapper.
std::string WholeFormOf(std::string_view wrapper);

// The state by names of a saved state dict in this form, flat ones included, on every rank and with full tensors, in
// the order of `expected`. State names of flat ones must have no dots. *Collective*.
Dict WholeStateByName(Trial& t, std::string_view form, const Dict& saved, const Dict& expected);
// Whether it is `expected`: names, then each parameter's state, whatever the order. *Collective*.
bool HasStateByName(Trial& t, std::string_view what, std::string_view form, const Dict& expected, const Dict& saved);

}  // namespace shardcts::extended
