// Upstream's comparisons of optimizer state dicts, and the comparison with an unsharded reference model.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "contract/fsdp_optim.h"
#include "rank/trial.h"

namespace shardcts::fsdp_optim_state {

// Upstream's _check_same_param_groups: the expected state dict (`other`) and the actual one (`own`) have groups, at
// least one; each pair has the same entries with the same values; `params` only if they are compared. Strict: the same
// number of groups. Local.
struct GroupChecks {
  std::string_view other, own, any, entries, values;
};
void ExpectSameGroups(Trial& t, const GroupChecks& checks, const Dict& actual, const Dict& expected,
                      bool with_params = true);

// Upstream's _check_same_state with equal keys: both have a state, the same keys, state names, values within PyTorch's
// default tolerance, dtypes. *Collective* if `actual` has ShardedTensors, which are gathered to full tensors; otherwise
// Local. Strict: no state name is missing.
struct StateChecks {
  std::string_view other, own, keys, names, values, dtypes;
};
void ExpectSameState(Trial& t, const StateChecks& checks, const Dict& actual, const Dict& expected);

// Upstream's _check_same_state without equal keys, of the saved state: both have a state for the same number of
// parameters, and each equals the state of some parameter of the unsharded reference model. `by_name`: the state of the
// reference model by parameter names. Strict: matched by name. *Collective* if it has ShardedTensors.
struct UnpairedStateChecks {
  std::string_view other, own, count, states;
};
void ExpectStatesInAnyOrder(Trial& t, const UnpairedStateChecks& checks, const Dict& saved, const Dict& twin,
                            const Dict& by_name);

// Strict form of `check`: the state of a saved state dict equals, by name, the state of the unsharded reference model,
// within rtol 1e-5 and atol 1e-8. *Collective* if it has ShardedTensors.
void ExpectStateOfTwin(Trial& t, std::string_view check, const Dict& twin_state, const Dict& saved);

// The two state dicts are equal: keys in any order, values within PyTorch's default tolerance. Local.
void ExpectEqualDicts(Trial& t, std::string_view check, const Dict& expected, const Dict& actual);
void ExpectEqualDictsStrictly(Trial& t, std::string_view check, const Dict& expected, const Dict& actual);

// The same losses, bit for bit or within rtol 1e-5. Local.
Verification SameLosses(const std::vector<double>& expected, const std::vector<double>& actual, bool exact = true);

// The member `state`, or `param_groups`, of a state dict.
const Dict& StateOf(const Dict& state_dict);
const List& GroupsOf(const Dict& state_dict);
// Throws ContractViolation when there is none.
const Dict& FirstGroupOf(const Dict& state_dict);

}  // namespace shardcts::fsdp_optim_state
