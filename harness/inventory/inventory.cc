#include "inventory/inventory.h"

#include <algorithm>
#include <map>
#include <set>

#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxRanks = 4096;
constexpr size_t kMaxElements = 10'000;  // of one grid

// A JSON value with its position, so that every error names file and JSON pointer.
struct Place {
  const Json* json;
  std::string file;
  std::string pointer;

  [[noreturn]] void Fail(const std::string& problem) const {
    throw InputError(file + ": " + (pointer.empty() ? "/" : pointer) + ": " + problem);
  }
  Place At(const std::string& key) const { return {&json->at(key), file, pointer + "/" + key}; }
  bool Has(const std::string& key) const { return json->contains(key); }

  const Place& Require(Json::value_t type, const char* name) const {
    const bool fits = json->type() == type ||
                      (type == Json::value_t::number_unsigned && json->type() == Json::value_t::number_integer);
    if (!fits) Fail(std::string("expected ") + name + ", got " + json->type_name());
    return *this;
  }
  const Place& Object() const { return Require(Json::value_t::object, "an object"); }
  Place Member(const std::string& key) const {
    Object();
    if (!Has(key)) Fail("'" + key + "' is missing");
    return At(key);
  }
  std::string Text() const { return Require(Json::value_t::string, "a string").json->get<std::string>(); }
  int PositiveInt() const {
    if (!json->is_number_integer() || *json < 1 || *json > kMaxRanks) Fail("expected a positive integer up to 4096");
    return json->get<int>();
  }
  int Rank() const {
    if (!json->is_number_integer() || *json < 0 || *json >= kMaxRanks) Fail("expected a rank");
    return json->get<int>();
  }
  std::vector<Place> Elements() const {
    Require(Json::value_t::array, "an array");
    std::vector<Place> elements;
    for (size_t i = 0; i < json->size(); ++i) {
      elements.push_back({&(*json)[i], file, pointer + "/" + std::to_string(i)});
    }
    return elements;
  }
  std::vector<std::string> Texts() const {
    std::vector<std::string> texts;
    for (const Place& element : Elements()) texts.push_back(element.Text());
    return texts;
  }
};

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

InventoryCheck::Ranks ParseRanks(const Place& place) {
  if (place.json->is_array()) return InventoryCheck::Ranks::kListed;
  const std::string text = place.Text();
  if (text == "all") return InventoryCheck::Ranks::kAll;
  if (text == "rank0") return InventoryCheck::Ranks::kRank0;
  if (text == "others") return InventoryCheck::Ranks::kOthers;
  place.Fail("'" + text + "' is none of all, rank0, others");
}

std::vector<int> ParseListedRanks(const Place& place) {
  std::vector<int> ranks;
  for (const Place& element : place.Elements()) ranks.push_back(element.Rank());
  if (ranks.empty()) place.Fail("no rank is listed");
  return ranks;
}

Json ParseValueLists(const Place& place) {
  place.Object();
  for (const auto& [key, values] : place.json->items()) {
    if (!values.is_array() || values.empty()) place.At(key).Fail("expected a list with at least one value");
  }
  return *place.json;
}

CheckRule ParseCheck(const Place& place) {
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
  if (place.Has("active")) rule.active = ParseValueLists(place.At("active"));
  if (place.Has("inactive")) rule.inactive = ParseValueLists(place.At("inactive"));
  return rule;
}

std::vector<CheckRule> ParseChecks(const Place& place) {
  std::vector<CheckRule> rules;
  for (const Place& element : place.Elements()) rules.push_back(ParseCheck(element));
  return rules;
}

InstanceRule ParseInstance(const Place& place) {
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
  std::string not_applicable = {};    // as InstanceRule's
};

// Every element of one grid: keys in written order, the last varies fastest.
std::vector<Json> ExpandGrid(const GridRule& grid) {
  std::vector<Json> elements = {Json::object()};
  for (const auto& [key, values] : grid.lists.items()) {
    std::vector<Json> extended;
    for (const Json& element : elements) {
      for (const Json& value : values) {
        extended.push_back(element);
        extended.back()[key] = value;
      }
    }
    elements = std::move(extended);
  }
  return elements;
}

struct FunctionRule {
  std::string suite;
  std::string function;
  std::vector<std::string> capabilities;
  std::vector<int> world_sizes;
  std::vector<GridRule> grids;  // one without lists when the function has none
  std::vector<CheckRule> checks;
};

std::vector<int> ParseWorldSizes(const Place& place) {
  std::vector<int> sizes;
  for (const Place& element : place.Elements()) sizes.push_back(element.PositiveInt());
  if (sizes.empty()) place.Fail("no world size is listed");
  return sizes;
}

GridRule ParseGrid(const Place& place) {
  GridRule grid;
  grid.lists = *place.Object().json;
  for (const char* key : {"when", "world_sizes", "not_applicable"}) grid.lists.erase(key);
  ParseValueLists({&grid.lists, place.file, place.pointer});
  size_t elements = 1;
  for (const Json& values : grid.lists) {
    elements *= values.size();
    if (elements > kMaxElements) place.Fail("more than 10000 elements");
  }
  if (place.Has("when")) grid.when = ParseValueLists(place.At("when"));
  if (place.Has("world_sizes")) grid.world_sizes = ParseWorldSizes(place.At("world_sizes"));
  if (place.Has("not_applicable")) grid.not_applicable = place.At("not_applicable").Text();
  return grid;
}

FunctionRule ParseFunction(const std::string& suite, const Place& place) {
  FunctionRule rule;
  rule.suite = suite;
  rule.function = place.Member("function").Text();
  if (place.Has("capabilities")) rule.capabilities = place.At("capabilities").Texts();
  rule.world_sizes = ParseWorldSizes(place.Member("world_sizes"));
  if (place.Has("subtests")) {
    for (const Place& grid : place.At("subtests").Elements()) rule.grids.push_back(ParseGrid(grid));
  }
  if (rule.grids.empty()) rule.grids.emplace_back();
  rule.checks = ParseChecks(place.Member("checks"));
  return rule;
}

std::string ValueText(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

bool Matches(const Json& value_lists, const Json& params, int world_size) {
  for (const auto& [key, values] : value_lists.items()) {
    const Json value = key == "world_size" ? Json(world_size) : params.value(key, Json());
    if (std::find(values.begin(), values.end(), value) == values.end()) return false;
  }
  return true;
}

TestCase MakeCase(const FunctionRule& rule, const InstanceRule& instance, int world_size, const GridRule& grid,
                  const Json& element) {
  TestCase test;
  test.suite = rule.suite;
  test.upstream_id = instance.id;
  test.function = rule.function;
  test.world_size = world_size;
  test.capabilities = rule.capabilities;
  test.not_applicable = instance.not_applicable.empty() ? grid.not_applicable : instance.not_applicable;
  test.params = instance.params;
  test.id = rule.suite + "/" + instance.id + "/world_size=" + std::to_string(world_size);
  for (const auto& [key, value] : element.items()) {
    test.params[key] = value;
    test.id += "," + key + "=" + ValueText(value);
  }
  for (const CheckRule& check : rule.checks) {
    const bool switched_off = !check.inactive.empty() && Matches(check.inactive, test.params, world_size);
    if (Matches(check.active, test.params, world_size) && !switched_off) test.checks.push_back(check.check);
  }
  return test;
}

void ExpandInstance(const FunctionRule& rule, const InstanceRule& instance, std::vector<TestCase>& tests) {
  for (int world_size : rule.world_sizes) {
    for (const GridRule& grid : rule.grids) {
      const std::vector<int>& sizes = grid.world_sizes;
      if (!sizes.empty() && std::ranges::find(sizes, world_size) == sizes.end()) continue;
      if (!Matches(grid.when, instance.params, world_size)) continue;
      for (const Json& element : ExpandGrid(grid)) tests.push_back(MakeCase(rule, instance, world_size, grid, element));
    }
  }
}

void RequireConsistent(const TestCase& test, const Place& place) {
  std::set<std::string> ids;
  for (const InventoryCheck& check : test.checks) {
    if (!ids.insert(check.id).second) place.Fail("test " + test.id + " has check " + check.id + " twice");
    for (int rank : check.listed_ranks) {
      if (rank >= test.world_size) place.Fail("test " + test.id + " has no rank " + std::to_string(rank));
    }
  }
}

}  // namespace

std::vector<TestCase> ParseInventory(const std::string& text, const std::string& file_name) {
  const Json json = ParseJson(text, file_name);
  const Place root{&json, file_name, ""};
  const std::string suite = root.Member("suite").Text();
  std::vector<TestCase> tests;
  std::set<std::string> ids;
  for (const Place& function : root.Member("tests").Elements()) {
    const FunctionRule rule = ParseFunction(suite, function);
    for (const Place& place : function.Member("instances").Elements()) {
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
  const Place root{&json, file_name, ""};
  SuiteSize size;
  size.name = root.Member("suite").Text();
  for (const Place& function : root.Member("tests").Elements()) {
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
