// What the state dict of an optimizer must say after a training, as the contract says it (operation
// optimizer.state_dict): which parameters have which states, and every entry of the group. Only the values of the
// moments come from an unsharded model that was trained, so that what an implementation returns never decides what is
// compared. *Local*.
#pragma once

#include <string>
#include <vector>

#include "rank/trial.h"

namespace shardcts::state_dict {

// One optimizer over all parameters of an unsharded model.
struct TrainedOptimizer {
  std::string kind;  // "adam", "adamw", or "sgd" without momentum
  double lr = 1e-3;
  int steps = 1;
  Dict parameters;   // of the model, by name
};

// The states that it keeps of each parameter, and the entries of its group but `params`, in PyTorch's order.
std::vector<std::string> StateNames(const TrainedOptimizer& optimizer);
Dict GroupOptions(const TrainedOptimizer& optimizer);

struct ExpectedState {
  Dict by_id;    // {state: {id: entry}, param_groups: [group]}
  Dict by_name;  // the same with names in place of ids
};

// `own` is the optimizer's own state dict, keyed by ids. State that a parameter must not have is a failure of the test,
// and is left out. Throws ContractViolation where state is missing, or has another type, dtype, shape or step.
ExpectedState ExpectedStateOf(Trial& t, const TrainedOptimizer& optimizer, const Dict& own);

}  // namespace shardcts::state_dict
