// RULE: the body of one rule of rules/*.json. It registers itself, so a body may stand in any file of this suite:
//
//   RULE(GE1) {
//     Model model = BuildCoded(t, …);
//     t.Rule(Equal("p0: rows", …));
//   }
//
// A body evaluates the rule's check with Trial::Rule, on every rank, at least once.
#pragma once

#include "rank/port.h"
#include "rank/trial.h"

namespace shardcts::extended {

struct RuleBody {
  // `file` and `line`: where the body stands.
  RuleBody(const char* id, PortBody body, const char* file, int line);
};

}  // namespace shardcts::extended

#define RULE(id)                                                                                  \
  static void id([[maybe_unused]] ::shardcts::Trial& t);                                          \
  static const ::shardcts::extended::RuleBody id##_body(#id, &id, __FILE__, __LINE__);            \
  static void id([[maybe_unused]] ::shardcts::Trial& t)
