// Waivers: accepted failures, each with an owner. Format: docs/formats.md, "Waivers"; meaning: docs/verdicts.md.
// *Local*.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "results/results.h"
#include "results/version_range.h"
#include "run_files/implementation_spec.h"

namespace shardcts {

// Describes how a test fails on an implementation. It does not change any other failure.
struct Waiver {
  std::string place;                 // "FILE:LINE"
  std::string test;                  // an id, or with * or ? a pattern that must match the complete id
  std::string implementation;        // a source, or a pattern; options and mutants make no difference
  std::string device;                // a device type, or "*"
  Verdict verdict = Verdict::kFail;  // fail, incomplete, crash, hang or diverged
  std::vector<std::string> checks;   // fail: those that may fail; incomplete: those that may be missing; empty: any
  std::string reason_contains;       // text that the reason of the test must hold; empty: any
  std::string owner;
  std::string reason;
  std::string evidence;                                // a link or a file
  std::optional<std::chrono::year_month_day> expires;  // the last day on which it is valid, UTC
  std::string review_version;                          // of the implementation: valid for older ones; empty: for all
  std::optional<VersionRange> versions;                // of the implementation: of others it says nothing; none: all
};

// Whether both can hold for one version of an implementation that both name.
bool HoldTogether(const Waiver& a, const Waiver& b);

// Those that name this test on this implementation, each for other versions. Throws InputError when two hold for one.
std::vector<const Waiver*> FindWaivers(const std::vector<Waiver>& waivers, const TestCase& test,
                                       const ImplementationSpec& spec);

// For an implementation that none names itself: those that name this test on the one that it says it is based on. Of two
// for one version the first counts.
std::vector<const Waiver*> FindWaiversOfBase(const std::vector<Waiver>& waivers, const TestCase& test,
                                             const std::string& based_on, const std::string& device);

// The first of them that is for this version; when none is: the first. Null: there are none.
const Waiver* WaiverFor(const std::vector<const Waiver*>& found, const std::string& version);

// The day of the system clock, UTC.
std::chrono::year_month_day Today();

// Turns the verdict of a result into `waived` when it fails as the waiver says, and into `unexpected_pass` when it
// passes. A failure of another kind, or one whose waiver no longer holds (after `expires`, or when `version`, the
// implementation's, is not older than review_version), keeps its verdict; the reason then says why the waiver does not
// help. A waiver of other versions only adds that to the reason of a failure. advice, not_supported, not_applicable, harness_error and not_run are never touched. Fills in result.waiver.
void ApplyWaiver(const Waiver& waiver, std::chrono::year_month_day today, const std::string& version,
                 TestResult& result);

// "2027-01-31"
std::string DateText(std::chrono::year_month_day date);

// One line: who waives which failure of which implementation, how long, why.
std::string Describe(const Waiver& waiver);

// The fields of the waiver as in results.json, without its effect.
nlohmann::ordered_json ToJson(const Waiver& waiver);

}  // namespace shardcts
