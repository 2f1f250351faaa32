#include "dsd/optimizer_state.h"

namespace shardcts::reference {

void InitStateAtRest(Optimizer& optimizer) {
  if (!optimizer.StateDict().At("state").AsDict().empty()) return;
  for (const models::ParameterPtr& parameter : ParametersById(optimizer)) {
    if (parameter->value.grad().defined()) return;
  }
  std::vector<Value> rates;
  for (size_t i = 0; i < optimizer.groups().size(); ++i) {
    rates.push_back(optimizer.groups()[i].options.At("lr"));
    optimizer.SetOption(i, "lr", 0.0);
  }
  optimizer.InitState();
  for (size_t i = 0; i < rates.size(); ++i) optimizer.SetOption(i, "lr", rates[i]);
  optimizer.ZeroGrad();
}

}  // namespace shardcts::reference
