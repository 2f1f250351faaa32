#include "suites/state_dict/comparisons.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "rank/whole.h"

namespace shardcts::state_dict {
namespace {

constexpr CompareOptions kAssertEqual{.dtype_default_tolerance = true};
constexpr CompareOptions kAllClose{.tolerance = {.rtol = 1e-5, .atol = 1e-8}};

void ExpectSameEntry(Trial& t, int first, const std::string& name, const Dict& expected, const Dict& actual) {
  t.Check(CheckNumber(first), Equal(name + ": number of states", expected.size(), actual.size()));
  t.Strict(CheckNumber(first + 1), SameNameSet(name, expected.Keys(), actual.Keys()));
  for (const auto& [state, value] : expected) {
    const Value* other = actual.Find(state);
    if (other) t.Strict(CheckNumber(first + 2), SameValue(name + "." + ToString(state), value, *other));
  }
}

std::vector<std::string> Sorted(std::vector<std::string> names) {
  std::ranges::sort(names);
  return names;
}

void ExpectSameGroup(Trial& t, int first, const std::string& what, const Dict& expected, const Dict& actual) {
  t.Check(CheckNumber(first), Equal(what + ": number of entries", expected.size(), actual.size()));
  for (const auto& [key, value] : expected) {
    const std::string name = what + "." + ToString(key);
    const Value* other = actual.Find(key);
    if (ToString(key) != "params") {
      if (!t.Check(CheckNumber(first + 2), Holds(other != nullptr, name, "is missing"))) continue;
      ExpectEqual(t, CheckNumber(first + 2), name, value, *other);
      continue;
    }
    if (!t.Check(CheckNumber(first + 1), Holds(other != nullptr, name, "is missing"))) continue;
    t.Check(CheckNumber(first + 1), SameNames(name, Sorted(value.AsStrings()), Sorted(other->AsStrings())));
    t.Strict(CheckNumber(first + 1), SameNames(name, value.AsStrings(), other->AsStrings()));
  }
}

}  // namespace

std::string CheckNumber(int number) { return "C" + std::to_string(number); }

const Dict& StateOf(const Dict& state_dict) { return state_dict.At("state").AsDict(); }
const List& GroupsOf(const Dict& state_dict) { return state_dict.At("param_groups").AsList(); }

Dict ByName(const Dict& state_dict, const std::vector<std::string>& names) {
  Dict state;
  for (const auto& [id, entry] : StateOf(state_dict)) state.Set(names.at(std::get<int64_t>(id)), entry);
  List groups;
  for (const Value& group : GroupsOf(state_dict)) {
    Dict named = group.AsDict();
    std::vector<std::string> params;
    for (int64_t id : group.AsDict().At("params").AsInts()) params.push_back(names.at(id));
    named.Set("params", ToValue(params));
    groups.push_back(named);
  }
  return {{"state", state}, {"param_groups", groups}};
}

void ExpectSameModelState(Trial& t, int first, const Dict& expected, const Dict& actual) {
  const Dict whole = WholeDict(t, actual);
  t.Check(CheckNumber(first), Equal("entries of the model state dict", expected.size(), whole.size()));
  for (const auto& [key, value] : expected) {
    const std::string name = ToString(key);
    const Value* other = whole.Find(key);
    if (!t.Check(CheckNumber(first + 1), Holds(other && !other->IsNone(), name, "is missing"))) continue;
    if (!t.Check(CheckNumber(first + 2), IsPlainTensor(name, *other))) continue;
    t.Check(CheckNumber(first + 3), SameValue(name, value, *other, kAllClose));
    t.Strict(CheckNumber(first + 3), SameValue(name, value, *other));
  }
}

void ExpectSameOptimizerState(Trial& t, int first, const Dict& expected, const Dict& actual) {
  const Dict whole = WholeDict(t, actual);
  const Dict& state = StateOf(whole);
  t.Check(CheckNumber(first), Equal("parameters with state", StateOf(expected).size(), state.size()));
  for (const auto& [key, entry] : StateOf(expected)) {
    const Value* other = state.Find(key);
    if (!t.Check(CheckNumber(first + 1), Holds(other != nullptr, ToString(key), "has no state"))) continue;
    ExpectSameEntry(t, first + 2, ToString(key), entry.AsDict(), other->AsDict());
  }
  const List& wanted = GroupsOf(expected);
  const List& groups = GroupsOf(whole);
  if (!t.Check(CheckNumber(first + 5), Equal("parameter groups", wanted.size(), groups.size()))) return;
  for (size_t i = 0; i < wanted.size(); ++i) {
    ExpectSameGroup(t, first + 6, "group " + std::to_string(i), wanted[i].AsDict(), groups[i].AsDict());
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
