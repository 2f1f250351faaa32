// Inventory: the pinned list of upstream tests, expanded to the test cases that ShardCTS runs.
// Format: docs/formats.md. All functions here are *Local* and need no LibTorch.
#pragma once

#include <nlohmann/json.hpp>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "inventory/phases.h"

namespace shardcts {

struct InventoryCheck {
  enum class Ranks { kAll, kRank0, kOthers, kListed };
  std::string id;         // "C5"
  std::string what;
  std::string strength;   // "strict", "weak", "vacuous", "unreached"
  Ranks ranks = Ranks::kAll;
  bool required = true;
  std::vector<int> listed_ranks = {};  // for kListed
  std::optional<size_t> phase = {};    // in which it is expected, from 0; none: the last, or the test has no phases
};

// One sentence of the specification (rules.h).
struct Rule {
  enum class Level { kMust, kShould };  // a SHOULD that fails is advice, not a failure (docs/verdicts.md)
  std::string id;                       // "GE1"
  Level level = Level::kMust;
  std::string sentence;
  std::string source;      // the page or the thread that says so
  std::string bites_with;  // the sizes and cases that show a violation
  std::string area;        // "Geometry"
  std::string place;       // "FILE: /rules/0"
  std::string profile = {};  // "core", "durable" (crashes, loss of power), "hardened" (files nobody vouches for); or none
};

std::string ToString(Rule::Level level);  // "MUST"

// One test: an upstream instance, or a rule, at one world size or with phases, with one element of its grids.
struct TestCase {
  std::string id;            // "fully_shard_state_dict/TestX.test_y/world_size=4,mlp_dim=2"
  std::string suite;
  std::string upstream_id;   // "TestX.test_y"; of a rule its id, as function
  std::string function;      // "test_y"
  int world_size = 1;        // with phases: the largest
  nlohmann::ordered_json params;             // instance parameters, then the subtest's
  std::vector<std::string> capabilities;     // all must be declared, else not_supported
  std::string not_applicable;                // upstream's reason; empty: applicable
  std::vector<InventoryCheck> checks;        // those active for this case
  std::shared_ptr<const Rule> rule = {};     // that it tests; null: it is a test of upstream
  std::vector<TestPhase> phases = {};        // empty: it is not divided
};

// What the inventory of one suite lists, before world sizes and subtests multiply it.
struct SuiteSize {
  std::string name;
  int functions = 0;
  int instances = 0;
  int checks = 0;     // of all functions
  int unreached = 0;  // of these: those that upstream never reaches
  int ids = 0;        // test cases; only AllSuites() counts them
  std::vector<Rule> rules = {};  // of a suite of rules; each counts as a function, an instance and a check
};

// Both throw InputError (input_error.h) naming file and position when the text does not follow the format.
SuiteSize MeasureInventory(const std::string& text, const std::string& file_name);
std::vector<TestCase> ParseInventory(const std::string& text, const std::string& file_name);

// Every suite of this build, in the order of suites/CMakeLists.txt (the texts are compiled in).
const std::vector<TestCase>& AllTests();
std::vector<SuiteSize> AllSuites();

}  // namespace shardcts
