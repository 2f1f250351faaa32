// Phases: the parts of a test that run one after another, each on ranks of its own (docs/design.md, "Phases"). *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <cstddef>
#include <string>
#include <vector>

#include "inventory/json_place.h"

namespace shardcts {

struct TestCase;

struct TestPhase {
  size_t index = 0;    // from 0
  std::string role;    // "save", "crash": the implementation under test runs it; "load": that of --load-with, if given
  int world_size = 1;
  nlohmann::ordered_json params = nlohmann::ordered_json::object();  // in addition to the test's

  bool loads() const { return role == "load"; }
};

// The ranks of a test: a world size, or phases, each with its own.
struct TestRanks {
  int world_size = 1;                   // with phases: the largest
  std::vector<TestPhase> phases = {};   // empty: the test is not divided
};

// `place`: a list of 1 to 8 phases {"role": "save" | "crash" | "load", "world": 2 or [2, 3], parameter: [values], …};
// the result has every combination of their values. Throws InputError.
std::vector<TestRanks> ParsePhases(const JsonPlace& place);

// What `owner`, an object of an inventory, lists: its `phases`, or its `world_sizes`, not both. Empty: neither. Throws
// InputError.
std::vector<TestRanks> ParseTestRanks(const JsonPlace& owner);

// The first part of a variant: "world_size=4", or "save=2,load=3"; of a phase with parameters "load=4(mesh=2x2)".
std::string RanksText(const TestRanks& ranks);

// "phase 2 of 2 (load, 3 ranks)", or "(load, 3 ranks, LABEL)" with the implementation that runs it.
std::string PhaseName(const TestCase& test, size_t phase, const std::string& label = "");

// The test as one phase of it runs: its world size, and the checks that are expected there. The test itself where it has
// no phases.
TestCase CaseOfPhase(const TestCase& test, size_t phase);

}  // namespace shardcts
