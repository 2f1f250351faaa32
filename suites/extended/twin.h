// Twin: the zoo's own module without wrappers, from which expected values come. No implementation is involved. *Local*.
#pragma once

#include <map>
#include <memory>
#include <string_view>
#include <vector>

#include "contract/facade.h"
#include "models/module.h"
#include "suites/extended/wrapping.h"

namespace shardcts::extended {

class Twin {
 public:
  // On the CPU, with the values of BuildCoded.
  explicit Twin(const ModelSpec& spec);

  // Plain tensors, sharing storage with the module; in the order of torch.nn.Module.
  Dict Parameters() const;  // a tied one under its first name
  Dict StateDict() const;   // with persistent buffers, extra state, and tied parameters under every name
  Dict Gradients() const;   // none where there is none
  void SetValues(const Dict& parameters);
  void SetTraining(bool training);
  const at::Tensor& Leaf(const std::string& name) const;  // the parameter that forward computes with

  at::Tensor Forward(const std::vector<at::Tensor>& inputs);
  void Backward(const at::Tensor& output);  // of its sum
  void ZeroGrad();

 private:
  models::ModulePtr module_;
};

// LibTorch's optimizer over a twin: "sgd", "adam", "adamw". LibTorch computes Adam's first moment as
// b·m + (1 - b)·g, PyTorch's Python optimizers as a lerp: from the second step on the last bits may differ, unless the
// data make the sums exact.
class TwinOptimizer {
 public:
  TwinOptimizer(const Twin& twin, std::string_view kind, const OptimizerOptions& options = {},
                const std::vector<ParameterGroup>& groups = {});  // empty: one group of all parameters
  ~TwinOptimizer();
  void Step();
  // {name: {state name: tensor}} in the order of the groups, named as in PyTorch's state dicts; step is a float tensor.
  Dict State() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace shardcts::extended
