// Where the order of names in optimizer state is chance, and two recordings may differ in it.
//
// When PyTorch loads optimizer state into FSDP1's flat parameters, it walks over a Python set of the state names
// (_flatten_optim_state in torch/distributed/fsdp/_optim_utils.py, torch 2.13). So `step` comes first in one process and
// last in another, and the optimizer that loads such state keeps that order.
#pragma once

#include <cstdint>
#include <set>

#include "contract/json_codec.h"

namespace shardcts {

// Follows a recording. Everything here is *Local*.
class StateNameOrder {
 public:
  // The next step.
  void Meet(const Json& step);
  // Whether it is chance in what this step gives: a step that loads optimizer state of FSDP1, sharded.gather of what
  // such a step gave, optimizer.state_dict after it.
  bool IsChance() const { return is_chance_; }
  // A value that this step gave, {state: {parameter: {state name: …}}} or the inner dict, with its state names sorted.
  static Json WithNamesSorted(Json value);

 private:
  std::set<int64_t> loading_steps_;
  bool is_chance_ = false;
};

}  // namespace shardcts
