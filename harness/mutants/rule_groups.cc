// Mutants of the rules of parameter groups and several optimizers (suites/extended).
#include <algorithm>

#include "mutants/rule_mutant.h"

namespace shardcts {
namespace {

// Changes the groups of what is loaded into optimizers, where it is not flat.
Mutation OnLoadedGroups(std::function<void(List& groups)> change) {
  return OnArguments("dsd.set_optimizer_state_dict", [=](MutantState&, Dict& arguments) {
    Dict state_dict = arguments.At("state_dict").AsDict();
    Value* groups = state_dict.Find("param_groups");
    if (!groups) return;
    List changed = groups->AsList();
    change(changed);
    *groups = Value(std::move(changed));
    arguments.Set("state_dict", state_dict);
  });
}

Mutation OnEachLoadedGroup(std::function<void(const List& groups, Dict& group)> change) {
  return OnLoadedGroups([=](List& groups) {
    const List before = groups;
    for (Value& group : groups) change(before, group.AsDict());
  });
}

// The options of the group, the parameters of the other one.
Dict WithParameters(const Value& options, const Value& parameters) {
  Dict group = options.AsDict();
  group.Set("params", parameters.AsDict().At("params"));
  return group;
}

void SwapOptions(List& groups) {
  if (groups.size() != 2) return;
  const List before = groups;
  groups = {WithParameters(before[1], before[0]), WithParameters(before[0], before[1])};
}

void DropWhatIsNoNumber(const List&, Dict& group) {
  Dict kept;
  for (const auto& [name, value] : group) {
    const bool number = value.type() == Value::Type::kDouble || value.type() == Value::Type::kBool ||
                        value.type() == Value::Type::kInt || value.type() == Value::Type::kTensor;
    if (number || ToString(name) == "params" || ToString(name) == "betas") kept.Set(name, value);
  }
  group = kept;
}

void TakeOptionsOfTheLast(const List& groups, Dict& group) {
  if (group.At("params").AsList().empty()) group = WithParameters(groups.back(), Value(group));
}

// Of a single group the second half of the parameters, here the biases, goes without options.
void DropBiases(List& groups) {
  if (groups.size() != 1) return;
  Dict& group = groups[0].AsDict();
  List kept = group.At("params").AsList();
  std::erase_if(kept, [](const Value& name) { return name.AsString().ends_with("bias"); });
  group.Set("params", kept);
}

Mutation TakeTheLast() {
  return OnArguments("dsd.set_optimizer_state_dict", [](MutantState&, Dict& arguments) {
    Dict options = arguments.Contains("options") ? arguments.At("options").AsDict() : Dict();
    options.Set("strict", false);
    arguments.Set("options", options);
  });
}

// State without any name is taken for state by ids, of which one optimizer can be loaded.
Outcome TakeForKeyedByIds(MutantState& state, std::string_view operation, Dict& arguments) {
  if (operation == "dsd.set_optimizer_state_dict" && arguments.At("optimizers").AsList().size() > 1) {
    const Dict state_dict = arguments.At("state_dict").AsDict();
    const Value* entries = state_dict.Find("state");
    if (entries && entries->AsDict().empty()) {
      return Error{"ValueError", "loaded state dict has a different number of parameter groups"};
    }
  }
  return state.inner.Invoke(operation, arguments);
}

// The first group of what is saved lists every parameter of the model.
void ListEveryParameter(MutantState& state, const Dict& arguments, Value& result) {
  Value* groups = result.AsDict().Find("param_groups");
  if (!groups || groups->AsList().empty()) return;
  const Value parameters = state.Require("model.parameters", {{"model", arguments.At("model")}});
  List changed = groups->AsList();
  changed[0].AsDict().Set("params", ToValue(parameters.AsDict().Keys()));
  *groups = Value(std::move(changed));
}

// Flat or not.
void KeepNewInitialLr(MutantState&, Dict& arguments) {
  Dict state_dict = arguments.At("state_dict").AsDict();
  for (auto& [name, value] : state_dict) {
    if (ToString(name).ends_with(".initial_lr")) value = 0.0;
  }
  if (Value* groups = state_dict.Find("param_groups")) {
    List changed = groups->AsList();
    for (Value& group : changed) group.AsDict().Erase("initial_lr");
    *groups = Value(std::move(changed));
  }
  arguments.Set("state_dict", state_dict);
}

}  // namespace

std::vector<MutantRow> RuleGroupMutants() {
  return {
      RuleMutant("GR1", "dsd_options_by_position", "the options of two saved groups are loaded in the opposite order",
                 "groups matched by position", OnLoadedGroups(SwapOptions)),
      RuleMutant("GR2", "dsd_only_numbers_loaded", "options that are no numbers are not loaded",
                 "non-tensor leaves not loaded", OnEachLoadedGroup(DropWhatIsNoNumber)),
      RuleMutant("GR3", "dsd_empty_group_takes_last", "a group without parameters gets the options of the last group",
                 "groups paired by what is left over", OnEachLoadedGroup(TakeOptionsOfTheLast)),
      RuleMutant("GR4", "dsd_split_group_once", "of a saved group that two groups share the second gets no options",
                 "each saved group is used once", OnLoadedGroups(DropBiases)),
      RuleMutant("GR5", "dsd_last_of_groups_wins", "of groups that disagree the last one wins without an error",
                 "conflicts are overwritten", TakeTheLast()),
      RuleMutant("GR6", "dsd_optimizers_by_position", "options are loaded in the order in which optimizers are listed",
                 "list order counts", OnLoadedGroups(SwapOptions)),
      RuleMutant("GR7", "dsd_stateless_taken_for_ids", "state dicts without state are taken for those by ids",
                 "empty taken for another kind", TakeForKeyedByIds),
      RuleMutant("GR8", "dsd_group_lists_everything", "the first saved group lists every parameter of the model",
                 "all parameters are walked", OnResult("dsd.get_optimizer_state_dict", ListEveryParameter)),
      RuleMutant("GR9", "dsd_schedule_restarts", "the initial learning rate is not loaded", "schedules start again",
                 OnArguments("dsd.set_optimizer_state_dict", KeepNewInitialLr)),
  };
}

}  // namespace shardcts
