// RULE: the body of one rule of a suite's rules/*.json. It registers itself, so a body may stand in any file of the
// suite:
//
//   RULE(GE1) {
//     Model model = BuildCoded(t, …);
//     t.Rule(Equal("p0: rows", …));
//   }
//
// A body evaluates the rule's check with Trial::Rule, on every rank, at least once. The suite's namespace declares
// `std::vector<Port>& RegisteredRules();`, which returns a static object.
#pragma once

#include <vector>

#include "rank/port.h"
#include "rank/trial.h"

namespace shardcts::rules {

struct RuleBody {
  // `file` and `line`: where the body stands.
  RuleBody(std::vector<Port>& registered, const char* id, PortBody body, const char* file, int line);
};

}  // namespace shardcts::rules

#define RULE(id)                                                                                              \
  static void id([[maybe_unused]] ::shardcts::Trial& t);                                                      \
  static const ::shardcts::rules::RuleBody id##_body(RegisteredRules(), #id, &id, __FILE__, __LINE__);        \
  static void id([[maybe_unused]] ::shardcts::Trial& t)
