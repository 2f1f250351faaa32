// Verdict: the result of a test on an implementation, combined from what the ranks report. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inventory/inventory.h"
#include "run_files/events.h"

namespace shardcts {

enum class Verdict {
  kPass,
  kFail,
  kAdvice,          // a rule of level SHOULD does not hold
  kIncomplete,      // a check that the inventory asks for was not evaluated
  kNotSupported,    // a capability that the implementation does not declare
  kNotApplicable,   // upstream's own rule
  kWaived,          // fails as a valid waiver says
  kUnexpectedPass,  // a waived test passed
  kCrash,
  kHang,
  kDiverged,        // the ranks disagree
  kHarnessError,    // our fault, never the implementation's
  kNotRun,
};

const std::vector<Verdict>& AllVerdicts();
std::string ToString(Verdict verdict);                        // "not_supported"
std::optional<Verdict> ParseVerdict(std::string_view text);
bool IsConformanceFailure(Verdict verdict);  // fail, incomplete, unexpected_pass, crash, hang, diverged

// What the controller observed of a test, in addition to what the ranks report.
struct Incident {
  Verdict verdict = Verdict::kCrash;  // kCrash, kHang, kDiverged, kHarnessError
  int rank = -1;                      // -1: no single rank
  std::string reason;                 // one line
};

struct CombinedVerdict {
  Verdict verdict = Verdict::kNotRun;
  std::string reason;
  std::vector<std::string> missing;   // required checks, in inventory order; empty for tests that did not run
};

// The checks that `test` requires and that were not evaluated on every rank that has to, those that a rank lists as
// device_limited excepted.
std::vector<std::string> MissingChecks(const TestCase& test, const std::vector<RankReport>& ranks);

// The worst of the ranks: harness_error > incident > diverged > fail > incomplete > not_supported > not_applicable;
// pass only when every rank passed. Ranks that disagree otherwise are `diverged`.
CombinedVerdict Combine(const TestCase& test, const std::vector<RankReport>& ranks,
                        const std::optional<Incident>& incident);

// What a test that does not hold comes to when its rule is only a SHOULD: `fail` and `diverged` become advice. The
// others stay: a rank that died or hangs is a fault whatever the rule says.
Verdict AsAdvice(const TestCase& test, Verdict verdict);

// 0 no verdict is red and at least one is pass; 1 a conformance failure; 3 a harness error, something was not
// run, or nothing passed. `complete` false (interrupted) is always 3.
int ExitCode(const std::vector<Verdict>& verdicts, bool complete);

}  // namespace shardcts
