// The update rules of optimizers as formulas in float64, for expected values: one for each option that has state or an
// arithmetic of its own. Sources: the documentation of torch.optim's classes, 2.13. *Local*.
#pragma once

#include <string_view>

#include "contract/facade.h"

namespace shardcts::extended {

// A step of one parameter in place: its value, its gradient, and its state by PyTorch's names, which the first step
// makes; `n` counts from 1.
using UpdateFormula = void (*)(at::Tensor& value, const at::Tensor& gradient, Dict& state, double n);

struct OptimizerKind {
  const char* name;  // in test ids: "adam_amsgrad"
  const char* kind;  // in the contract: "adam"
  OptimizerOptions options;
  UpdateFormula formula;
};

// HarnessError for another name.
const OptimizerKind& OptimizerKindNamed(std::string_view name);

// Parameters of {name: float32 tensor} that are stepped by a formula.
class FormulaRun {
 public:
  FormulaRun(const OptimizerKind& kind, const Dict& parameters);
  void Step(const Dict& gradients);
  Dict Parameters() const;  // float32
  // {name: {state name: value}}, float32; with `step` where the kind keeps it.
  Dict State() const;

 private:
  UpdateFormula formula_;
  Dict values_;  // float64
  Dict state_;
  double steps_ = 0;
};

}  // namespace shardcts::extended
