#include "mutants/mutate.h"

namespace shardcts {

Value MutantState::Require(std::string_view operation, const Dict& arguments) {
  Outcome outcome = inner.Invoke(operation, arguments);
  if (!outcome.ok()) throw outcome.error();
  return outcome.value();
}

Mutation OnResult(std::string operation, std::function<void(MutantState&, const Dict&, Value&)> change) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (called == operation && outcome.ok()) change(state, arguments, outcome.value());
    return outcome;
  };
}

Mutation OnStateDict(std::function<void(MutantState&, const Handle&, Dict&)> change) {
  return OnResult("model.state_dict", [=](MutantState& state, const Dict& arguments, Value& result) {
    change(state, arguments.At("model").AsHandle(), result.AsDict());
  });
}

Mutation OnFullTensors(std::function<void(const DTensor& tensor, Value& full)> change) {
  return OnResult("tensor.full", [=](MutantState&, const Dict& arguments, Value& result) {
    const Value& value = arguments.At("value");
    if (value.type() != Value::Type::kDict) return change(value.AsDTensor(), result);
    for (Dict::Entry& full : result.AsDict()) change(value.AsDict().At(full.key).AsDTensor(), full.value);
  });
}

Mutation OnDTensors(std::function<void(MutantState&, DTensor&)> change) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    Outcome outcome = state.inner.Invoke(called, arguments);
    if (!outcome.ok() || (called != "model.state_dict" && called != "model.parameters")) return outcome;
    for (Dict::Entry& entry : outcome.value().AsDict()) {
      if (DTensor* dtensor = entry.value.TryAs<DTensor>()) change(state, *dtensor);
    }
    return outcome;
  };
}

Mutation OnArguments(std::string operation, std::function<void(MutantState&, Dict&)> change) {
  return [=](MutantState& state, std::string_view called, Dict& arguments) {
    if (called == operation) change(state, arguments);
    return state.inner.Invoke(called, arguments);
  };
}

void EraseIn(Dict& arguments, const std::string& argument, const std::string& field) {
  if (Value* value = arguments.Find(argument)) value->AsDict().Erase(field);
}

Dict& StateOf(Dict& state_dict) { return state_dict.Find("state")->AsDict(); }

void ForEachEntry(Dict& state_dict, const std::function<void(Dict&)>& change) {
  for (auto& [key, entry] : StateOf(state_dict)) {
    if (entry.TryAs<Dict>()) change(entry.AsDict());
  }
}

void SwapMoments(MutantState&, const Dict&, Dict& state_dict) {
  ForEachEntry(state_dict, [](Dict& entry) {
    Value* first = entry.Find("exp_avg");
    Value* second = entry.Find("exp_avg_sq");
    if (first && second) std::swap(*first, *second);
  });
}

void LoseStep(MutantState&, const Dict&, Dict& state_dict) {
  ForEachEntry(state_dict, [](Dict& entry) { entry.Erase("step"); });
}

}  // namespace shardcts
