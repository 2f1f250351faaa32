#include "suites/fsdp_optim_state/comparisons.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "rank/whole.h"

namespace shardcts::fsdp_optim_state {
namespace {

constexpr CompareOptions kDefaultTolerance{.dtype_default_tolerance = true};
constexpr CompareOptions kCloseToTwin{.tolerance = {.rtol = 1e-5, .atol = 1e-8}};
constexpr CompareOptions kIsClose = kCloseToTwin;  // isclose's defaults, too

// Whether both have the member.
bool BothHave(Trial& t, std::string_view in_other, std::string_view in_own, const char* member, const Dict& actual,
              const Dict& expected) {
  const auto has = [&](const char* what, const Dict& dict) {
    return Holds(dict.Contains(member), what, std::string("expected a member ") + member + ", there is none");
  };
  const bool other = t.Check(in_other, has("the other state dict", expected));
  return t.Check(in_own, has("state dict", actual)) && other;
}

void CompareGroups(Trial& t, const GroupChecks& checks, const std::string& what, const Dict& actual,
                   const Dict& expected, bool with_params) {
  t.Check(checks.entries, SameNameSet(what, expected.Keys(), actual.Keys()));
  for (const auto& [key, value] : actual) {
    const Value* other = expected.Find(key);
    const std::string name = ToString(key);
    if (!other || (name == "params" && !with_params)) continue;
    t.Check(checks.values, SameValue(what + "." + name, *other, value, kDefaultTolerance));
  }
}

// State names, values and dtypes of one parameter.
void CompareEntry(Trial& t, const StateChecks& checks, const std::string& parameter, const Dict& actual,
                  const Dict& expected) {
  t.Strict(checks.names, SameNameSet(parameter, expected.Keys(), actual.Keys()));
  for (const auto& [key, value] : actual) {
    const std::string what = parameter + "." + ToString(key);
    const Value* other = expected.Find(key);
    if (!t.Check(checks.names, Holds(other != nullptr, what, "the other state dict has no such state"))) continue;
    t.Check(checks.values, SameValue(what, *other, value, kDefaultTolerance));
    const Tensor* tensor = value.TryAs<Tensor>();
    const Tensor* other_tensor = other->TryAs<Tensor>();
    if (!tensor || !other_tensor) continue;
    t.Check(checks.dtypes, Holds(tensor->data.scalar_type() == other_tensor->data.scalar_type(), what,
                                 "expected dtype of " + ToString(*other) + ", actual " + ToString(value)));
  }
}

// Upstream's _are_equal_states: the same names and types, tensors close.
bool Matches(const Dict& entry, const Dict& other) {
  if (entry.size() != other.size()) return false;
  return std::ranges::all_of(entry, [&](const Dict::Entry& state) {
    const Value* found = other.Find(state.key);
    return found && SameValue("", *found, state.value, kIsClose).ok;
  });
}

// Whether some parameter of the unsharded model has this state. If none, the message says how the one of the same name
// differs.
Verification HasEqualState(const Key& name, const Dict& entry, const Dict& twin_state, const Dict& by_name) {
  const bool found = std::ranges::any_of(
      twin_state, [&](const Dict::Entry& other) { return Matches(entry, other.value.AsDict()); });
  if (found) return {};
  const std::string what = ToString(name) + ": no parameter of the unsharded model has such state; ";
  const Value* own = by_name.Find(name);
  if (!own) return {false, what + "its parameter of this name has none, actual " + ToString(entry)};
  return SameValue(what + "compared with the parameter of the same name", *own, InOrderOf(*own, entry), kIsClose);
}

std::string TextOf(const std::vector<double>& numbers) { return ToString(Value(List(numbers.begin(), numbers.end()))); }

Verification SameDicts(const Dict& expected, const Dict& actual) {
  return SameValue("state dict", expected, InOrderOf(expected, actual), kDefaultTolerance);
}

}  // namespace

const Dict& StateOf(const Dict& state_dict) { return state_dict.At("state").AsDict(); }
const List& GroupsOf(const Dict& state_dict) { return state_dict.At("param_groups").AsList(); }

const Dict& FirstGroupOf(const Dict& state_dict) {
  const List& groups = GroupsOf(state_dict);
  if (groups.empty()) throw ContractViolation("param_groups: expected at least one group, there is none");
  return groups.front().AsDict();
}

void ExpectSameGroups(Trial& t, const GroupChecks& checks, const Dict& actual, const Dict& expected,
                      bool with_params) {
  if (!BothHave(t, checks.other, checks.own, "param_groups", actual, expected)) return;
  const List& groups = GroupsOf(actual);
  const List& others = GroupsOf(expected);
  t.Check(checks.any, Holds(!groups.empty(), "parameter groups", "expected at least one, there is none"));
  t.Strict(checks.any, Equal("number of parameter groups", others.size(), groups.size()));
  for (size_t i = 0; i < std::min(groups.size(), others.size()); ++i) {
    const std::string what = "group " + std::to_string(i);
    CompareGroups(t, checks, what, groups[i].AsDict(), others[i].AsDict(), with_params);
  }
}

void ExpectSameState(Trial& t, const StateChecks& checks, const Dict& actual, const Dict& expected) {
  if (!BothHave(t, checks.other, checks.own, "state", actual, expected)) return;
  const Dict gathered = WholeDict(t, StateOf(actual));
  const Dict& others = StateOf(expected);
  t.Check(checks.keys, SameNameSet("parameters with state", others.Keys(), gathered.Keys()));
  for (const auto& [key, entry] : gathered) {
    const Value* other = others.Find(key);
    const std::string parameter = "state of " + ToString(key);
    if (t.Check(checks.keys, Holds(other != nullptr, parameter, "is not in the other state dict"))) {
      CompareEntry(t, checks, parameter, entry.AsDict(), other->AsDict());
    }
  }
}

void ExpectStatesInAnyOrder(Trial& t, const UnpairedStateChecks& checks, const Dict& saved, const Dict& twin,
                            const Dict& by_name) {
  if (!BothHave(t, checks.other, checks.own, "state", saved, twin)) return;
  const Dict whole = WholeDict(t, saved);
  const Dict& state = StateOf(whole);
  t.Check(checks.count, Equal("parameters with state", StateOf(twin).size(), state.size()));
  for (const auto& [name, entry] : state) {
    t.Check(checks.states, HasEqualState(name, entry.AsDict(), StateOf(twin), by_name));
  }
  ExpectStateOfTwin(t, checks.states, by_name, whole);
}

void ExpectStateOfTwin(Trial& t, std::string_view check, const Dict& twin_state, const Dict& saved) {
  const Dict state = WholeDict(t, StateOf(saved));
  t.Strict(check, SameNameSet("parameters with state, beside the unsharded twin's", twin_state.Keys(), state.Keys()));
  for (const auto& [name, entry] : twin_state) {
    const Value* own = state.Find(name);
    if (!own) continue;
    const Value ordered = InOrderOf(entry, *own);
    t.Strict(check, SameValue(ToString(name) + ", beside the unsharded twin", entry, ordered, kCloseToTwin));
  }
}

void ExpectEqualDicts(Trial& t, std::string_view check, const Dict& expected, const Dict& actual) {
  t.Check(check, SameDicts(expected, actual));
}

void ExpectEqualDictsStrictly(Trial& t, std::string_view check, const Dict& expected, const Dict& actual) {
  t.Strict(check, SameDicts(expected, actual));
}

Verification SameLosses(const std::vector<double>& expected, const std::vector<double>& actual, bool exact) {
  constexpr double kRelative = 1e-5;
  const auto same = [&](double left, double right) {
    return exact ? left == right : std::abs(left - right) <= kRelative * std::abs(left);
  };
  const bool equal = std::ranges::equal(expected, actual, same);
  return Holds(equal, "losses", "expected " + TextOf(expected) + ", actual " + TextOf(actual));
}

}  // namespace shardcts::fsdp_optim_state
