#include "suites/state_dict/comparisons.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rank/whole.h"

namespace shardcts::state_dict {
namespace {

constexpr CompareOptions kAssertEqual{.dtype_default_tolerance = true};
constexpr CompareOptions kAllClose{.tolerance = {.rtol = 1e-5, .atol = 1e-8}};

void ExpectSameEntry(Trial& t, const OptimizerStateChecks& checks, const std::string& name, const Dict& expected,
                     const Dict& actual) {
  t.Check(checks.states, Equal(name + ": number of states", expected.size(), actual.size()));
  t.Strict(checks.state_names, SameNameSet(name, expected.Keys(), actual.Keys()));
  for (const auto& [state, value] : expected) {
    const Value* other = actual.Find(state);
    if (other) t.Strict(checks.state_values, SameValue(name + "." + ToString(state), value, *other));
  }
}

// Compares the counts, as upstream does; the message names an entry that is not in both.
Verification SameCountOfStates(const Dict& expected, const Dict& actual) {
  Verification count = Equal("parameters with state", expected.size(), actual.size());
  if (count.ok) return count;
  for (const auto& [key, entry] : actual) {
    if (expected.Contains(key)) continue;
    return {false, count.message + "; state of " + ToString(key) + ": expected none, actual " + ToString(entry)};
  }
  for (const auto& [key, entry] : expected) {
    if (actual.Contains(key)) continue;
    return {false, count.message + "; state of " + ToString(key) + ": expected " + ToString(entry) + ", actual none"};
  }
  return count;
}

std::vector<std::string> Sorted(std::vector<std::string> names) {
  std::ranges::sort(names);
  return names;
}

void ExpectSameGroup(Trial& t, const OptimizerStateChecks& checks, const std::string& what, const Dict& expected,
                     const Dict& actual) {
  t.Check(checks.group_entries, Equal(what + ": number of entries", expected.size(), actual.size()));
  for (const auto& [key, value] : expected) {
    const std::string name = what + "." + ToString(key);
    const Value* other = actual.Find(key);
    if (ToString(key) != "params") {
      if (!t.Check(checks.options, Holds(other != nullptr, name, "is missing"))) continue;
      ExpectEqual(t, checks.options, name, value, *other);
      continue;
    }
    if (!t.Check(checks.params, Holds(other != nullptr, name, "is missing"))) continue;
    t.Check(checks.params, SameNames(name, Sorted(value.AsStrings()), Sorted(other->AsStrings())));
    t.Strict(checks.params, SameNames(name, value.AsStrings(), other->AsStrings()));
  }
}

}  // namespace

const Dict& StateOf(const Dict& state_dict) { return state_dict.At("state").AsDict(); }
const List& GroupsOf(const Dict& state_dict) { return state_dict.At("param_groups").AsList(); }

const Dict& FirstGroupOf(const Dict& state_dict) {
  const List& groups = GroupsOf(state_dict);
  if (groups.empty()) throw ContractViolation("param_groups: expected at least one group, there is none");
  return groups.front().AsDict();
}

void ExpectSameModelState(Trial& t, const ModelStateChecks& checks, const Dict& expected, const Dict& actual) {
  const Dict whole = WholeDict(t, actual);
  t.Check(checks.count, Equal("entries of the model state dict", expected.size(), whole.size()));
  for (const auto& [key, value] : expected) {
    const std::string name = ToString(key);
    const Value* other = whole.Find(key);
    if (!t.Check(checks.names, Holds(other && !other->IsNone(), name, "is missing"))) continue;
    if (!t.Check(checks.tensors, IsPlainTensor(name, *other))) continue;
    t.Check(checks.values, SameValue(name, value, *other, kAllClose));
    t.Strict(checks.values, SameValue(name, value, *other));
  }
}

void ExpectSameOptimizerState(Trial& t, const OptimizerStateChecks& checks, const Dict& expected, const Dict& actual) {
  const Dict whole = WholeDict(t, actual);
  const Dict& state = StateOf(whole);
  t.Check(checks.count, SameCountOfStates(StateOf(expected), state));
  for (const auto& [key, entry] : StateOf(expected)) {
    const Value* other = state.Find(key);
    if (!t.Check(checks.names, Holds(other != nullptr, ToString(key), "has no state"))) continue;
    ExpectSameEntry(t, checks, ToString(key), entry.AsDict(), other->AsDict());
  }
  const List& wanted = GroupsOf(expected);
  const List& groups = GroupsOf(whole);
  if (!t.Check(checks.groups, Equal("parameter groups", wanted.size(), groups.size()))) return;
  for (size_t i = 0; i < wanted.size(); ++i) {
    ExpectSameGroup(t, checks, "group " + std::to_string(i), wanted[i].AsDict(), groups[i].AsDict());
  }
}

Verification AreEqual(std::string_view what, const Value& expected, const Value& actual) {
  return SameValue(what, expected, InOrderOf(expected, actual), kAssertEqual);
}

Verification AreIdentical(std::string_view what, const Value& expected, const Value& actual) {
  return SameValue(what, expected, InOrderOf(expected, actual));
}

void ExpectEqual(Trial& t, std::string_view check, std::string_view what, const Value& expected, const Value& actual) {
  t.Check(check, AreEqual(what, expected, actual));
  t.Strict(check, AreIdentical(what, expected, actual));
}

Dict Copied(Trial& t, const Dict& state_dict) {
  Dict copied;
  for (const auto& [key, value] : state_dict) copied.Set(key, IsTensor(value) ? t.subject().Clone(value) : value);
  return copied;
}

void ExpectInitialState(Trial& t, std::string_view check, const Dict& parameters, const Dict& whole_state_dict) {
  const Dict& state = StateOf(whole_state_dict);
  t.Strict(check, SameNameSet("parameters with state", parameters.Keys(), state.Keys()));
  for (const auto& [name, value] : parameters) {
    const Value* entry = state.Find(name);
    if (!entry) continue;
    const at::Tensor zeros = at::zeros_like(value.AsTensor().detach(), at::TensorOptions().device(at::kCPU));
    const Dict expected{{"step", at::ones({}, at::kFloat)}, {"exp_avg", zeros}, {"exp_avg_sq", zeros}};
    t.Strict(check, AreIdentical(ToString(name), expected, *entry));
  }
}

}  // namespace shardcts::state_dict
