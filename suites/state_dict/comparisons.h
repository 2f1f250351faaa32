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

// Upstream's _verify_msd: number of entries, their names, that each is a full tensor, its values.
struct ModelStateChecks {
  std::string_view count, names, tensors, values;
};
void ExpectSameModelState(Trial& t, const ModelStateChecks& checks, const Dict& expected, const Dict& actual);

// Upstream's _verify_osd: number of parameters with state, and their names; of each the number of states, their names
// and values; number of groups; of each the number of entries, params, the other entries.
struct OptimizerStateChecks {
  std::string_view count, names;
  std::string_view states, state_names, state_values;
  std::string_view groups, group_entries, params, options;
};
// `expected` is by name. It alone determines which checks are evaluated: without state, none of `names` and `state…`.
void ExpectSameOptimizerState(Trial& t, const OptimizerStateChecks& checks, const Dict& expected, const Dict& actual);

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
// Throws ContractViolation when there is none.
const Dict& FirstGroupOf(const Dict& state_dict);

// State of parameters that were never trained, as the API creates it: step 1, zero moments. Strict.
void ExpectInitialState(Trial& t, std::string_view check, const Dict& parameters, const Dict& whole_state_dict);

}  // namespace shardcts::state_dict
