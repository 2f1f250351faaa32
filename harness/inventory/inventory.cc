#include "inventory/inventory.h"

#include <algorithm>
#include <map>
#include <set>

#include "inventory/grid.h"
#include "inventory/json_place.h"
#include "inventory/needs.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

struct CheckRule {
  InventoryCheck check;
  Json active;    // key -> allowed values; empty: always
  Json inactive;  // key -> values: not active where all keys match; empty: nowhere
};

struct InstanceRule {
  std::string id;
  Json params = Json::object();
  std::string not_applicable;
};

InventoryCheck::Ranks ParseRanks(const JsonPlace& place) {
  if (place.json->is_array()) return InventoryCheck::Ranks::kListed;
  const std::string text = place.Text();
  if (text == "all") return InventoryCheck::Ranks::kAll;
  if (text == "rank0") return InventoryCheck::Ranks::kRank0;
  if (text == "others") return InventoryCheck::Ranks::kOthers;
  place.Fail("'" + text + "' is none of all, rank0, others");
}

std::vector<int> ParseListedRanks(const JsonPlace& place) {
  std::vector<int> ranks;
  for (const JsonPlace& element : place.Elements()) ranks.push_back(element.Rank());
  if (ranks.empty()) place.Fail("no rank is listed");
  return ranks;
}

CheckRule ParseCheck(const JsonPlace& place) {
  CheckRule rule;
  rule.check.id = place.Member("id").Text();
  rule.check.what = place.Has("what") ? place.At("what").Text() : "";
  rule.check.strength = place.Member("strength").Text();
  static const std::set<std::string> kStrengths = {"strict", "weak", "vacuous", "unreached"};
  if (!kStrengths.contains(rule.check.strength)) {
    place.At("strength").Fail("'" + rule.check.strength + "' is none of strict, weak, vacuous, unreached");
  }
  if (place.Has("ranks")) rule.check.ranks = ParseRanks(place.At("ranks"));
  if (rule.check.ranks == InventoryCheck::Ranks::kListed) {
    rule.check.listed_ranks = ParseListedRanks(place.At("ranks"));
  }
  if (place.Has("required")) {
    rule.check.required = place.At("required").Require(Json::value_t::boolean, "a bool").json->get<bool>();
  }
  if (place.Has("phase")) {
    rule.check.phase = static_cast<size_t>(place.At("phase").WorldSize()) - 1;  // a number from 1
  }
  if (place.Has("active")) rule.active = ParseValueLists(place.At("active"));
  if (place.Has("inactive")) rule.inactive = ParseValueLists(place.At("inactive"));
  return rule;
}

std::vector<CheckRule> ParseChecks(const JsonPlace& place) {
  std::vector<CheckRule> rules;
  for (const JsonPlace& element : place.Elements()) rules.push_back(ParseCheck(element));
  return rules;
}

InstanceRule ParseInstance(const JsonPlace& place) {
  InstanceRule instance;
  instance.id = place.Member("id").Text();
  if (place.Has("params")) instance.params = *place.At("params").Object().json;
  if (place.Has("not_applicable")) instance.not_applicable = place.At("not_applicable").Text();
  return instance;
}

// Subtests: the product of lists of values.
struct GridRule {
  Json lists = Json::object();        // parameter -> values
  Json when = Json::object();         // the instances that it is for: parameter -> values; empty: all
  std::vector<int> world_sizes = {};  // empty: all of the function's
  std::vector<TestRanks> phases = {};  // in place of the function's ranks; empty: as the function
  std::string not_applicable = {};    // as InstanceRule's
};

struct FunctionRule {
  std::string suite;
  std::string function;
  std::vector<std::string> capabilities;
  std::vector<Need> needs;
  std::vector<TestRanks> ranks;
  std::vector<GridRule> grids;  // one without lists when the function has none
  std::vector<CheckRule> checks;
};

GridRule ParseGrid(const JsonPlace& place) {
  GridRule grid;
  grid.lists = ParseGridLists(place, {"when", "world_sizes", "phases", "not_applicable"});
  if (place.Has("when")) grid.when = ParseValueLists(place.At("when"));
  if (place.Has("phases")) {
    grid.phases = ParseTestRanks(place);
  } else if (place.Has("world_sizes")) {
    grid.world_sizes = place.At("world_sizes").WorldSizes();
  }
  if (place.Has("not_applicable")) grid.not_applicable = place.At("not_applicable").Text();
  return grid;
}

FunctionRule ParseFunction(const std::string& suite, const JsonPlace& place) {
  FunctionRule rule;
  rule.suite = suite;
  rule.function = place.Member("function").Text();
  if (place.Has("capabilities")) rule.capabilities = place.At("capabilities").Texts();
  rule.needs = ParseNeeds(place);
  rule.ranks = ParseTestRanks(place);
  if (place.Has("subtests")) {
    for (const JsonPlace& grid : place.At("subtests").Elements()) rule.grids.push_back(ParseGrid(grid));
  }
  if (rule.grids.empty()) rule.grids.emplace_back();
  const bool each_has = std::ranges::none_of(rule.grids, [](const GridRule& grid) { return grid.phases.empty(); });
  if (rule.ranks.empty() && !each_has) place.Fail("'world_sizes' is missing");
  rule.checks = ParseChecks(place.Member("checks"));
  return rule;
}

TestCase MakeCase(const FunctionRule& rule, const InstanceRule& instance, const TestRanks& ranks, const GridRule& grid,
                  const Json& element) {
  const int world_size = ranks.world_size;
  TestCase test;
  test.suite = rule.suite;
  test.upstream_id = instance.id;
  test.function = rule.function;
  test.world_size = world_size;
  test.phases = ranks.phases;
  test.not_applicable = instance.not_applicable.empty() ? grid.not_applicable : instance.not_applicable;
  test.params = instance.params;
  test.params.update(element);
  test.capabilities = NeededCapabilities(rule.capabilities, rule.needs, test.params, ranks);
  test.id = rule.suite + "/" + instance.id + "/" + VariantText(RanksText(ranks), element);
  for (const CheckRule& check : rule.checks) {
    const bool switched_off = !check.inactive.empty() && Matches(check.inactive, test.params, world_size);
    if (Matches(check.active, test.params, world_size) && !switched_off) test.checks.push_back(check.check);
  }
  return test;
}

void ExpandInstance(const FunctionRule& rule, const InstanceRule& instance, std::vector<TestCase>& tests) {
  const auto expand = [&](const TestRanks& ranks, const GridRule& grid) {
    if (!Matches(grid.when, instance.params, ranks.world_size)) return;
    for (const Json& element : ExpandGrid(grid.lists)) tests.push_back(MakeCase(rule, instance, ranks, grid, element));
  };
  for (const TestRanks& ranks : rule.ranks) {
    for (const GridRule& grid : rule.grids) {
      const std::vector<int>& sizes = grid.world_sizes;
      if (!sizes.empty() && std::ranges::find(sizes, ranks.world_size) == sizes.end()) continue;
      if (grid.phases.empty()) expand(ranks, grid);
    }
  }
  for (const GridRule& grid : rule.grids) {
    for (const TestRanks& ranks : grid.phases) expand(ranks, grid);
  }
}

void RequireConsistent(const TestCase& test, const JsonPlace& place) {
  std::set<std::string> ids;
  for (const InventoryCheck& check : test.checks) {
    if (!ids.insert(check.id).second) place.Fail("test " + test.id + " has check " + check.id + " twice");
    if (check.phase && *check.phase >= std::max<size_t>(test.phases.size(), 1)) {
      place.Fail("test " + test.id + " has no phase " + std::to_string(*check.phase + 1));
    }
    const int world_size = test.phases.empty() ? test.world_size
                                               : test.phases[check.phase.value_or(test.phases.size() - 1)].world_size;
    for (int rank : check.listed_ranks) {
      if (rank >= world_size) place.Fail("test " + test.id + " has no rank " + std::to_string(rank));
    }
  }
}

}  // namespace

std::string ToString(Rule::Level level) { return level == Rule::Level::kMust ? "MUST" : "SHOULD"; }

std::vector<TestCase> ParseInventory(const std::string& text, const std::string& file_name) {
  const Json json = ParseJson(text, file_name);
  const JsonPlace root{&json, file_name, ""};
  const std::string suite = root.Member("suite").Text();
  std::vector<TestCase> tests;
  std::set<std::string> ids;
  for (const JsonPlace& function : root.Member("tests").Elements()) {
    const FunctionRule rule = ParseFunction(suite, function);
    for (const JsonPlace& place : function.Member("instances").Elements()) {
      const size_t before = tests.size();
      ExpandInstance(rule, ParseInstance(place), tests);
      for (size_t i = before; i < tests.size(); ++i) {
        if (!ids.insert(tests[i].id).second) place.Fail("test " + tests[i].id + " exists twice");
        RequireConsistent(tests[i], place);
      }
    }
  }
  return tests;
}

SuiteSize MeasureInventory(const std::string& text, const std::string& file_name) {
  const Json json = ParseJson(text, file_name);
  const JsonPlace root{&json, file_name, ""};
  SuiteSize size;
  size.name = root.Member("suite").Text();
  for (const JsonPlace& function : root.Member("tests").Elements()) {
    ++size.functions;
    size.instances += static_cast<int>(function.Member("instances").Elements().size());
    std::map<std::string, bool> unreached;  // a check may have several entries: ranks that differ by parameters
    for (const CheckRule& rule : ParseChecks(function.Member("checks"))) {
      unreached[rule.check.id] = rule.check.strength == "unreached";
    }
    size.checks += static_cast<int>(unreached.size());
    for (const auto& [id, never] : unreached) size.unreached += never;
  }
  return size;
}

}  // namespace shardcts
