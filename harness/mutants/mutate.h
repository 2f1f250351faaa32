// What the families of mutants are written with. *Local* unless an operation inside is collective.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "contract/implementation.h"
#include "mutants/mutant.h"

namespace shardcts {

// The implementation below the mutant, and what the mutant remembers between calls.
struct MutantState {
  Implementation& inner;
  const ImplementationContext& context;
  std::set<int64_t> marked;  // ids of handles; cleared by implementation.reset

  // The inner operation's value; an error is thrown on and becomes the outcome of the mutated operation.
  Value Require(std::string_view operation, const Dict& arguments);
};

// Runs the operation, wrongly.
using Mutation = std::function<Outcome(MutantState& state, std::string_view operation, Dict& arguments)>;

struct MutantRow {
  MutantInfo info;
  Mutation mutation;
};

// The suite that the families of fully_shard are for.
inline const std::vector<std::string> kFullyShardSuite = {"fully_shard_state_dict"};

// The families.
std::vector<MutantRow> NameMutants();
std::vector<MutantRow> StorageMutants();
std::vector<MutantRow> LayoutMutants();
std::vector<MutantRow> LoadingMutants();
std::vector<MutantRow> FsdpMutants();
std::vector<MutantRow> OptimMutants();
std::vector<MutantRow> DsdMutants();
std::vector<MutantRow> RuleMutants();
std::vector<MutantRow> TrajectoryMutants();
std::vector<MutantRow> AliasingMutants();
std::vector<MutantRow> GroupMutants();
std::vector<MutantRow> StorageRuleMutants();
std::vector<MutantRow> StorageReshardingMutants();  // these and the next are among the ones above
std::vector<MutantRow> StorageEntryMutants();
std::vector<MutantRow> StorageLossMutants();
std::vector<MutantRow> StorageCostMutants();
std::vector<MutantRow> StorageBackgroundMutants();

// Changes the arguments of one operation.
Mutation OnArguments(std::string operation, std::function<void(MutantState& state, Dict& arguments)> change);
// Leaves a field of a dict among the arguments out, where both are there.
void EraseIn(Dict& arguments, const std::string& argument, const std::string& field);
// Changes the state dict that model.state_dict returns.
Mutation OnStateDict(std::function<void(MutantState& state, const Handle& model, Dict& entries)> change);
// Changes the result of one operation.
Mutation OnResult(std::string operation,
                  std::function<void(MutantState& state, const Dict& arguments, Value& result)> change);
// Changes what tensor.full makes of each DTensor.
Mutation OnFullTensors(std::function<void(const DTensor& tensor, Value& full)> change);
// Changes every DTensor that the implementation hands out for a model: parameters and state dicts.
Mutation OnDTensors(std::function<void(MutantState& state, DTensor& value)> change);

// Changes of an optimizer's state dict {state: {key: {state name: value}}, …}.
using StateDictChange = std::function<void(MutantState&, const Dict& arguments, Dict& state_dict)>;
Dict& StateOf(Dict& state_dict);
// Calls `change` with the state of each parameter.
void ForEachEntry(Dict& state_dict, const std::function<void(Dict&)>& change);
void SwapMoments(MutantState&, const Dict& arguments, Dict& state_dict);  // exp_avg and exp_avg_sq
void LoseStep(MutantState&, const Dict& arguments, Dict& state_dict);

}  // namespace shardcts
