#include "mutants/checkpoints.h"

namespace shardcts {

MutantRow StorageRule(const std::string& rule, std::string name, std::string description, std::string models,
                      Mutation mutation, int min_world_size) {
  return {{std::move(name), std::move(description), std::move(models), {"storage"}, {rule + " " + rule}, min_world_size},
          std::move(mutation)};
}

at::Tensor* LocalOf(Value& value) {
  if (auto* plain = value.TryAs<Tensor>()) return &plain->data;
  if (auto* distributed = value.TryAs<DTensor>()) return &distributed->local;
  return nullptr;
}

void ForEachLeaf(Value& tree, const std::function<void(Value&)>& change) {
  if (auto* dict = tree.TryAs<Dict>()) {
    for (auto& [key, value] : *dict) ForEachLeaf(value, change);
  } else if (auto* list = tree.TryAs<List>()) {
    for (Value& value : *list) ForEachLeaf(value, change);
  } else {
    change(tree);
  }
}

void ForEachLocal(Value& tree, const std::function<void(at::Tensor&)>& change) {
  ForEachLeaf(tree, [&](Value& value) {
    if (at::Tensor* local = LocalOf(value)) change(*local);
  });
}

Mutation OnSavedDict(std::function<void(MutantState&, Dict& arguments, Dict& saved)> change) {
  return OnArguments("storage.save", [=](MutantState& state, Dict& arguments) {
    change(state, arguments, arguments.Find("state_dict")->AsDict());
  });
}

Mutation OnLoadedDict(std::function<void(MutantState&, const Dict& arguments, Value& loaded)> change) {
  return OnResult("storage.load", [=](MutantState& state, const Dict& arguments, Value& result) {
    change(state, arguments, *result.AsDict().Find("state_dict"));
  });
}

Mutation OnReadDict(std::function<void(MutantState&, const Dict& arguments, Value& read)> change) {
  return OnResult("storage.read", change);
}

Mutation After(const std::string& wanted, std::function<void(MutantState&, Dict& arguments)> act) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation == wanted && outcome.ok()) act(state, arguments);
    return outcome;
  };
}

Mutation Swallow(const std::string& wanted, Swallowing when) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) -> Outcome {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation != wanted || outcome.ok() || !when(state, arguments, outcome.error())) return outcome;
    if (wanted == "storage.save") return Value();
    return Value(Dict{{"state_dict", arguments.At("state_dict")}});
  };
}

Swallowing MessageHas(std::string text) {
  return [text](MutantState&, const Dict&, const Error& error) { return error.message.find(text) != std::string::npos; };
}

Mutation RefuseLoads(std::function<bool(MutantState&, const Dict& arguments)> when, std::string message) {
  return [=](MutantState& state, std::string_view operation, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(operation, arguments);
    if (operation != "storage.load" || !outcome.ok() || !when(state, arguments)) return outcome;
    return Outcome(Error{"CheckpointException", message});
  };
}

}  // namespace shardcts
