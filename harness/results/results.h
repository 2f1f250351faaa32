// Results: everything that results.json says. Format: docs/formats.md; schema: reports/schema. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "inventory/inventory.h"
#include "results/phase_results.h"
#include "results/verdict.h"

namespace shardcts {

// One of several runs of a test (--repeat).
struct Repetition {
  Verdict verdict = Verdict::kNotRun;
  std::string reason;
  double seconds = 0;
  std::string log;  // as in TestResult
  std::string trace;
};

struct TestResult {
  TestCase test;
  std::string implementation;           // label
  Verdict verdict = Verdict::kNotRun;
  std::string reason;
  double seconds = 0;
  std::vector<std::string> missing;
  std::vector<RankReport> ranks;        // empty when it was not run
  std::optional<Incident> incident;     // that the controller saw
  std::string log;                      // pool folder, relative to the run folder; empty: not run
  std::string trace;                    // folder of the recording, relative; empty: none
  std::string reproduce;                // one command line
  nlohmann::ordered_json parity;        // null: not compared
  nlohmann::ordered_json waiver;        // the one that names the test, and its effect; null: none does
  std::vector<Repetition> repetitions;  // when tests run more than once; then all else is of the worst one
  bool flaky = false;                   // its repetitions have different verdicts
  std::vector<PhaseResult> phases;      // those that ran of a test that has phases; then ranks, incident and log are the last's
  std::string folder;                   // of a test with phases, where it was left because the test failed; else empty
};

struct ImplementationResult {
  std::string label;
  std::string source;
  std::string device;
  nlohmann::ordered_json options = nlohmann::ordered_json::object();
  std::optional<std::string> mutant;
  nlohmann::ordered_json description;  // of pool_ready; null: never started
  bool loads_only = false;             // of --load-with: it runs phases of the others' tests, and has none itself
  nlohmann::ordered_json warm;         // {seconds} or {problem} of the warm process; null: cold was requested
};

struct PoolResult {
  std::string implementation;
  int world_size = 1;
  int starts = 0;
  std::vector<double> start_seconds;  // of the starts that became ready
  int warm_starts = 0;                // in which every rank was a fork of the warm process
  std::vector<std::string> problems;  // why a new pool was started, and what went wrong at its end
};

struct Results {
  bool complete = false;
  std::string command;
  uint64_t seed = 0;
  std::string suite_commit;  // empty: unknown
  std::string started;       // ISO 8601, UTC
  double seconds = 0;
  std::string pool = "shared";  // "shared", "fresh"
  std::string start = "warm";   // "warm", "cold": as requested
  int jobs = 1;                 // how many pools ran at the same time, at most
  int repeat = 1;               // how often each test runs
  std::vector<std::string> required_capabilities;
  bool require_should = false;            // a rule of level SHOULD that does not hold fails
  std::vector<std::string> waiver_files;  // in addition to those of the suites
  std::string load_with;                  // label of the implementation that runs phases that load; empty: each its own
  std::string storage_root;               // where the folders of tests with phases are; empty: below the run folder
  nlohmann::ordered_json environment;
  std::vector<ImplementationResult> implementations;
  std::vector<SuiteSize> suites;  // of which the run has selected tests
  std::vector<PoolResult> pools;
  std::vector<TestResult> tests;  // every selected test once per implementation, in the order of the run
};

// Combines what ranks and controller report about a test to its result: verdict, reason, missing checks, ranks.
void SetOutcome(TestResult& result, std::vector<RankReport> ranks, const std::optional<Incident>& incident,
                double seconds);

// What results.json says of one rank: a rank that did not finish gets the incident's verdict when it is the one that
// caused it, `aborted` when another did.
nlohmann::ordered_json RankJson(const std::vector<RankReport>& ranks, const std::optional<Incident>& incident,
                                size_t rank);

// Makes a test `fail` that is not supported although it needs a capability that is required (--require).
void RequireCapabilities(const std::vector<std::string>& required, TestResult& result);

nlohmann::ordered_json ToJson(const TestResult& result);
nlohmann::ordered_json ToJson(const Results& results);

// OUT/results.json, atomically. Invalid UTF-8 in texts is replaced.
void WriteResults(const Results& results, const std::filesystem::path& run_folder);

}  // namespace shardcts
