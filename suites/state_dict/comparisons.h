// Upstream's comparisons of the results of the distributed state-dict API with the state dicts of an unsharded
// reference model, and their strict forms: bit for bit, by name. *Collective* where they gather.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/dsd.h"
#include "rank/trial.h"

namespace shardcts::state_dict {

// "C7"
std::string CheckNumber(int number);

// The names of an optimizer's parameters by id, and its own state dict under these names.
Dict ByName(const Dict& state_dict, const std::vector<std::string>& names);

// Upstream's _verify_msd, four checks from number `first` on: number of entries, names, whole tensors, values.
void ExpectSameModelState(Trial& t, int first, const Dict& expected, const Dict& actual);
constexpr int kModelStateChecks = 4;

// Upstream's _verify_osd, nine checks from number `first` on: number of entries, names, number of states of each, their
// names and values; number of groups, of their entries, params, other entries. `expected` is by name.
void ExpectSameOptimizerState(Trial& t, int first, const Dict& expected, const Dict& actual);
constexpr int kOptimizerStateChecks = 9;

// Equality as in upstream's assertEqual: keys in any order, values within PyTorch's default tolerance. Local.
Verification AreEqual(std::string_view what, const Value& expected, const Value& actual);
// Keys in any order, values bit for bit. Local.
Verification AreIdentical(std::string_view what, const Value& expected, const Value& actual);
// One evaluation of each.
void ExpectEqual(Trial& t, std::string_view check, std::string_view what, const Value& expected, const Value& actual);

// Copies of the tensors, which later steps of the model do not change; other values are unchanged.
Dict Copied(Trial& t, const Dict& state_dict);

// The member `state`, or `param_groups`, of an optimizer state dict.
const Dict& StateOf(const Dict& state_dict);
const List& GroupsOf(const Dict& state_dict);

// State of parameters that were never trained, as the API creates it: step 1, zero moments. Strict.
void ExpectInitialState(Trial& t, std::string_view check, const Dict& parameters, const Dict& whole_state_dict);

}  // namespace shardcts::state_dict
