// Mutants of the rules of the state machine and of hooks (suites/extended): what a call does depends on when it comes.
#include <ATen/ATen.h>

#include <map>
#include <memory>

#include "mutants/rule_mutant.h"

namespace shardcts {
namespace {

bool IsGetOfModel(std::string_view called) {
  return called == "model.state_dict" || called == "dsd.get_model_state_dict";
}
bool IsLoadOfModel(std::string_view called) {
  return called == "model.load_state_dict" || called == "dsd.set_model_state_dict";
}

int64_t ModelOf(const Dict& arguments) { return arguments.At("model").AsHandle().id; }

// Between a forward and the backward, or the end of the test, the model is marked.
void FollowForward(MutantState& state, std::string_view called, const Dict& arguments) {
  if (called == "model.forward") state.marked.insert(ModelOf(arguments));
  if (called == "model.backward") state.marked.erase(ModelOf(arguments));
}

// Optimizer state is left out of what is saved of a model after a forward.
Outcome ForgetStateAfterForward(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  FollowForward(state, called, arguments);
  if (!outcome.ok() || called != "dsd.get_optimizer_state_dict" || !state.marked.contains(ModelOf(arguments))) {
    return outcome;
  }
  Dict kept;
  for (const auto& [key, value] : outcome.value().AsDict()) {
    const std::string name = ToString(key);
    if (!name.starts_with("state.")) kept.Set(key, name == "state" ? Value(Dict()) : value);
  }
  return Value(kept);
}

// What a mutant keeps for each handle until the test ends.
using ByHandle = std::map<int64_t, Value>;

void ClearAtReset(const std::shared_ptr<ByHandle>& kept, std::string_view called) {
  if (called == "implementation.reset") kept->clear();
}

// A get between forward and backward costs the gradients.
Mutation DropGradientsAfterGet() {
  const auto saved = std::make_shared<ByHandle>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    ClearAtReset(saved, called);
    if (IsGetOfModel(called) && state.marked.contains(ModelOf(arguments))) saved->emplace(ModelOf(arguments), true);
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (called == "model.backward" && saved->erase(ModelOf(arguments)) > 0) {
      state.Require("model.zero_grad", {{"model", arguments.At("model")}});
    }
    if (called == "model.forward") saved->erase(ModelOf(arguments));
    FollowForward(state, called, arguments);
    return outcome;
  };
}

Value CopyOfModel(MutantState& state, const Dict& arguments) {
  const Value live = state.Require("dsd.get_model_state_dict", {{"model", arguments.At("model")}});
  return state.Require("tensor.clone", {{"value", live}});
}

// The backward writes the values back that a load between it and the forward has replaced.
Mutation BackwardRestores() {
  const auto replaced = std::make_shared<ByHandle>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    ClearAtReset(replaced, called);
    if (IsLoadOfModel(called) && state.marked.contains(ModelOf(arguments))) {
      replaced->emplace(ModelOf(arguments), CopyOfModel(state, arguments));
    }
    if (called == "model.forward") replaced->erase(ModelOf(arguments));
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (called == "model.backward" && replaced->contains(ModelOf(arguments))) {
      state.Require("dsd.set_model_state_dict",
                    {{"model", arguments.At("model")}, {"state_dict", replaced->at(ModelOf(arguments))}});
    }
    FollowForward(state, called, arguments);
    return outcome;
  };
}

// The first forward writes the values back that a load before it has replaced.
Mutation FirstForwardRestores() {
  const auto replaced = std::make_shared<ByHandle>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    ClearAtReset(replaced, called);
    const bool is_first = called == "model.forward" || IsLoadOfModel(called);
    const bool fresh = is_first && !state.marked.contains(ModelOf(arguments));
    if (fresh && called == "model.forward" && replaced->contains(ModelOf(arguments))) {
      state.Require("dsd.set_model_state_dict",
                    {{"model", arguments.At("model")}, {"state_dict", replaced->at(ModelOf(arguments))}});
    }
    if (fresh && called != "model.forward") replaced->emplace(ModelOf(arguments), CopyOfModel(state, arguments));
    if (called == "model.forward") state.marked.insert(ModelOf(arguments));
    return state.inner.Invoke(called, arguments);
  };
}

// A load that failed leaves a flag behind that refuses the next forward.
Outcome StayBusy(MutantState& state, std::string_view called, Dict& arguments) {
  if (called == "model.forward" && state.marked.contains(ModelOf(arguments))) {
    return Error{"AssertionError", "a load has not ended"};
  }
  Outcome outcome = state.inner.Invoke(called, arguments);
  const bool loads = IsLoadOfModel(called) || called == "dsd.set_optimizer_state_dict";
  if (!outcome.ok() && (loads || IsGetOfModel(called))) state.marked.insert(ModelOf(arguments));
  return outcome;
}

// A distributed function that fails leaves the type that it has set.
Outcome LeaveTypeOfFunction(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (!outcome.ok() && called.starts_with("dsd.")) {
    state.Require("fsdp.set_state_dict_type", {{"model", arguments.At("model")}, {"type", "FULL"}});
  }
  return outcome;
}

// The scope that ends restores the type of fresh units if its body has raised.
Mutation RestoreFreshType() {
  const auto models = std::make_shared<ByHandle>();  // of scopes of types
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    ClearAtReset(models, called);
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (called == "fsdp.state_dict_type" && outcome.ok()) {
      models->emplace(outcome.value().AsHandle().id, arguments.At("model"));
    }
    if (called != "scope.exit" || !arguments.Contains("raised") || !arguments.At("raised").AsBool()) return outcome;
    const auto found = models->find(arguments.At("scope").AsHandle().id);
    if (found != models->end()) state.Require("fsdp.set_state_dict_type", {{"model", found->second}, {"type", "FULL"}});
    return outcome;
  };
}

at::Tensor Twice(const at::Tensor& tensor) { return tensor.is_floating_point() ? tensor.detach() * 2 : tensor; }

// In a scope of full parameters what is saved counts twice.
Mutation CountTwiceInScope() {
  const auto scopes = std::make_shared<ByHandle>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    ClearAtReset(scopes, called);
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (called == "scope.exit") scopes->erase(arguments.At("scope").AsHandle().id);
    if (!outcome.ok()) return outcome;
    if (called == "fsdp.summon_full_params") scopes->emplace(outcome.value().AsHandle().id, true);
    if (called != "model.state_dict" || scopes->empty()) return outcome;
    for (auto& [key, value] : outcome.value().AsDict()) {
      if (Tensor* tensor = value.TryAs<Tensor>()) tensor->data = Twice(tensor->data);
      if (auto* sharded = value.TryAs<ShardedTensor>()) {
        for (LocalShard& shard : sharded->local_shards) shard.tensor = Twice(shard.tensor);
      }
    }
    return outcome;
  };
}

// What a hook in a forward saves are the values times two.
Outcome SaveTwiceInForward(MutantState& state, std::string_view called, Dict& arguments) {
  Outcome outcome = state.inner.Invoke(called, arguments);
  if (!outcome.ok() || called != "model.forward_and_state_dict") return outcome;
  for (auto& [key, value] : outcome.value().AsDict().Find("state_dict")->AsDict()) {
    if (Tensor* tensor = value.TryAs<Tensor>()) tensor->data = Twice(tensor->data);
    if (auto* distributed = value.TryAs<DTensor>()) distributed->local = Twice(distributed->local);
  }
  return outcome;
}

// A call that saves or loads whole tensors runs twice.
Outcome RunWholeTwice(MutantState& state, std::string_view called, Dict& arguments) {
  const Value* options = arguments.Find("options");
  const bool is_whole = options && options->AsDict().Contains("full_state_dict");
  if (is_whole && called.starts_with("dsd.")) state.inner.Invoke(called, arguments);
  return state.inner.Invoke(called, arguments);
}

// A compiled module goes on computing what it has computed first.
Mutation FoldConstants() {
  const auto first = std::make_shared<ByHandle>();
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    ClearAtReset(first, called);
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (!outcome.ok()) return outcome;
    if (called == "model.wrap" && arguments.At("wrapper").AsString() == "compile") {
      state.marked.insert(ModelOf(arguments));
    }
    if (called != "model.forward" || !state.marked.contains(ModelOf(arguments))) return outcome;
    return Outcome(first->emplace(ModelOf(arguments), outcome.value()).first->second);
  };
}

}  // namespace

std::vector<MutantRow> RuleStateMutants() {
  return {
      RuleMutant("SM1", "state_unknown_after_forward", "after a forward optimizer state is left out of what is saved",
                 "unsharded parameters are not those of the optimizer", ForgetStateAfterForward),
      RuleMutant("SM3", "get_before_backward_drops", "a get between forward and backward costs the gradients",
                 "the gathered buffer is freed by a get", DropGradientsAfterGet()),
      RuleMutant("SM4", "backward_restores", "the backward undoes a load that came after the forward",
                 "a saved buffer is written back", BackwardRestores()),
      RuleMutant("SM5", "first_forward_restores", "the first forward undoes a load that came before it",
                 "lazy initialization takes old values", FirstForwardRestores()),
      RuleMutant("SM6", "busy_after_failure", "after a call that failed the next forward is refused",
                 "a busy flag stays", StayBusy),
      RuleMutant("SM7", "function_leaves_type", "a distributed function that fails leaves its own state-dict type",
                 "M71: the type is not restored after an error", LeaveTypeOfFunction),
      RuleMutant("SM8", "scope_restores_fresh_type", "after a body that raised the type is that of a fresh unit",
                 "the end of a scope forgets the outer scope", RestoreFreshType()),
      RuleMutant("SM9", "saved_twice_in_scope", "in a scope of full parameters what is saved counts twice",
                 "a copy that was written back is saved again", CountTwiceInScope()),
      RuleMutant("SM11", "saved_twice_in_forward", "what a hook in a forward saves counts twice",
                 "a dict of what is being computed with", SaveTwiceInForward),
      RuleMutant("HK1", "whole_call_runs_twice", "a call that saves or loads whole tensors runs hooks twice",
                 "a dry run before the save", RunWholeTwice),
      RuleMutant("HK2", "compiled_constants", "a compiled module computes with the values of its first call",
                 "parameters folded as constants", FoldConstants()),
  };
}

}  // namespace shardcts
