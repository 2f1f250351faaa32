// Verdict: what a test on an implementation came to, and how it is made from what the ranks say. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "inventory/inventory.h"

namespace shardcts {

enum class Verdict {
  kPass,
  kFail,
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
bool IsGreen(Verdict verdict);                                // pass, not_applicable, waived
bool IsConformanceFailure(Verdict verdict);  // fail, incomplete, unexpected_pass, crash, hang, diverged

struct CheckCount {
  int64_t evaluated = 0;
  int64_t strict = 0;
  int64_t failed = 0;
};

struct CheckFailure {
  int rank = 0;
  std::string check;
  std::string message;
  std::string file;
  int line = 0;
  std::string operation;
};

// How often a rank was in a phase, and for how long.
struct PhaseTiming {
  std::string phase;
  int64_t calls = 0;
  double seconds = 0;
};

// What one rank says about one test. `verdict` is empty until the rank has finished it; "aborted" means that it
// stopped because a peer had failed, which never decides anything.
struct RankReport {
  bool started = false;
  bool finished = false;
  std::string verdict;
  std::string reason;
  double seconds = 0;
  std::map<std::string, CheckCount> checks;
  std::map<std::string, std::string> device_limited;  // check -> why it cannot be evaluated on this device
  std::vector<CheckFailure> failures;
  std::optional<std::vector<PhaseTiming>> timings;  // where the implementation measures them
};

// What the controller saw happen to a test, over and above what the ranks say.
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

// 0 every verdict is green and at least one is pass; 1 a conformance failure; 3 a harness error, something was not
// run, or nothing passed. `complete` false (interrupted) is always 3.
int ExitCode(const std::vector<Verdict>& verdicts, bool complete);

}  // namespace shardcts
