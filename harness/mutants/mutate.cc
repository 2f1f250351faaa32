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

}  // namespace shardcts
