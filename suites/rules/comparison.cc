#include "suites/rules/comparison.h"

#include "rank/whole.h"

namespace shardcts::rules {

bool SameState(Trial& t, std::string_view what, const Dict& expected, const Dict& actual) {
  bool same = t.Rule(SameNames(fmt::format("{}: names", what), expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* found = actual.Find(name);
    if (found) same = t.Rule(SameValue(fmt::format("{}: {}", what, ToString(name)), value, *found)) && same;
  }
  return same;
}

bool SameWholeState(Trial& t, std::string_view what, const Dict& expected, const Dict& actual) {
  return SameState(t, what, expected, WholeDict(t, actual));
}

}  // namespace shardcts::rules
