// The verdict of a test from those of its phases (docs/verdicts.md, "Phases"). *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>
#include <vector>

#include "results/verdict.h"

namespace shardcts {

struct TestResult;

// What one phase of a test came to.
struct PhaseResult {
  std::string implementation;  // label of the one that ran it
  CombinedVerdict verdict;
  std::vector<RankReport> ranks;
  std::optional<Incident> incident;
  double seconds = 0;
  std::string log;  // pool folder, relative to the run folder
};

// Of the phase-th phase; `verdict` is that of its checks.
PhaseResult CombinePhase(const TestCase& test, size_t phase, std::vector<RankReport> ranks,
                         const std::optional<Incident>& incident, double seconds);

// Whether the test has its verdict with these phases: the last of them is not `pass`, or there is no further one.
bool DecidesTest(const TestCase& test, const std::vector<PhaseResult>& phases);

// Verdict, ranks, incident and log are those of the last phase, which is named in the reason; seconds are the sum, and
// every required check of the phases that were not run is missing where the test is not `pass`.
void SetOutcome(TestResult& result, std::vector<PhaseResult> phases);

// "phase 2 of 2 (load, 3 ranks): REASON", with `label` as PhaseName has it; the reason itself where it says so already,
// and of a test without phases.
std::string WithPhase(const TestCase& test, size_t phase, const std::string& reason, const std::string& label = "");

// Element P-1 of the test's `phases` in results.json.
nlohmann::ordered_json PhaseJson(const TestResult& result, size_t phase);

}  // namespace shardcts
