#include "suites/state_dict/expected_state.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace shardcts::state_dict {
namespace {

std::string StateOfParameter(const std::string& name) {
  return "optimizer of the unsharded model: state of " + name;
}

// The values of one parameter's states.
Dict ExpectedEntry(const TrainedOptimizer& optimizer, const std::string& name, const at::Tensor& parameter,
                   const Dict& own) {
  const std::vector<std::string> states = StateNames(optimizer);
  if (const Verification same = SameNameSet(StateOfParameter(name), states, own.Keys()); !same.ok) {
    throw ContractViolation(same.message);
  }
  Dict expected;
  for (const std::string& state : states) {
    const std::string what = StateOfParameter(name) + "." + state;
    const Tensor* tensor = own.At(state).TryAs<Tensor>();
    const bool is_step = state == "step";
    const std::vector<int64_t> shape = is_step ? std::vector<int64_t>{} : parameter.sizes().vec();
    if (!tensor || tensor->data.scalar_type() != at::kFloat || tensor->data.sizes() != at::IntArrayRef(shape)) {
      throw ContractViolation(fmt::format("{}: expected a float32 tensor {}, actual {}", what, ShapeToString(shape),
                                          ToString(own.At(state))));
    }
    const Value steps = at::full_like(tensor->data, optimizer.steps);
    if (const Verification same = SameValue(what, steps, tensor->data); is_step && !same.ok) {
      throw ContractViolation(same.message);
    }
    expected.Set(state, is_step ? steps : *tensor);
  }
  return expected;
}

// State under keys that belong to no parameter, or to one that must have none: the first is named.
void ExpectNoOtherState(Trial& t, const TrainedOptimizer& optimizer, const Dict& own_state) {
  const std::vector<std::string> names = optimizer.parameters.Keys();
  for (const auto& [key, entry] : own_state) {
    const int64_t* id = std::get_if<int64_t>(&key);
    const bool has_parameter = id && *id >= 0 && *id < static_cast<int64_t>(names.size());
    if (has_parameter && !StateNames(optimizer).empty()) continue;
    const std::string name = has_parameter ? names[static_cast<size_t>(*id)] : "id " + ToString(key);
    return t.Fail(StateOfParameter(name) + ": expected none, actual " + ToString(entry));
  }
}

}  // namespace

std::vector<std::string> StateNames(const TrainedOptimizer& optimizer) {
  if (optimizer.kind == "sgd") return {};
  return {"step", "exp_avg", "exp_avg_sq"};
}

Dict GroupOptions(const TrainedOptimizer& optimizer) {
  if (optimizer.kind == "sgd") {
    return {{"lr", optimizer.lr},
            {"momentum", 0},
            {"dampening", 0},
            {"weight_decay", 0},
            {"nesterov", false},
            {"maximize", false},
            {"foreach", Value()},
            {"differentiable", false},
            {"fused", Value()}};
  }
  const bool decoupled = optimizer.kind == "adamw";
  return {{"lr", optimizer.lr},
          {"betas", List{0.9, 0.999}},
          {"eps", 1e-8},
          {"weight_decay", decoupled ? Value(0.01) : Value(0)},
          {"amsgrad", false},
          {"maximize", false},
          {"foreach", Value()},
          {"capturable", false},
          {"differentiable", false},
          {"fused", Value()},
          {"decoupled_weight_decay", decoupled}};
}

ExpectedState ExpectedStateOf(Trial& t, const TrainedOptimizer& optimizer, const Dict& own) {
  const Dict& own_state = own.At("state").AsDict();
  ExpectNoOtherState(t, optimizer, own_state);
  Dict state_by_id, state_by_name;
  std::vector<int64_t> ids;
  for (const auto& [key, parameter] : optimizer.parameters) {
    const std::string name = ToString(key);
    const auto id = static_cast<int64_t>(ids.size());
    ids.push_back(id);
    if (StateNames(optimizer).empty()) continue;
    const Value* entry = own_state.Find(id);
    if (!entry) throw ContractViolation(StateOfParameter(name) + ": expected one, there is none");
    const Dict expected = ExpectedEntry(optimizer, name, parameter.AsTensor(), entry->AsDict());
    state_by_id.Set(id, expected);
    state_by_name.Set(name, expected);
  }
  Dict group_by_id = GroupOptions(optimizer), group_by_name = group_by_id;
  group_by_id.Set("params", ToValue(ids));
  group_by_name.Set("params", ToValue(optimizer.parameters.Keys()));
  return {{{"state", state_by_id}, {"param_groups", List{group_by_id}}},
          {{"state", state_by_name}, {"param_groups", List{group_by_name}}}};
}

}  // namespace shardcts::state_dict
