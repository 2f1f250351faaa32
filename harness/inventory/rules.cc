#include "inventory/rules.h"

#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "contract/nearest_name.h"
#include "inventory/grid.h"
#include "inventory/json_place.h"
#include "inventory/needs.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using Names = std::vector<std::string>;

const Names kAreaFields = {"area", "prefix", "rules"};
const Names kRuleFields = {"id",         "level",       "sentence", "source", "capabilities",
                           "bites_with", "world_sizes", "phases", "cases", "profile", "needs"};
const Names kLevels = {"MUST", "SHOULD"};
const Names kProfiles = {"core", "durable", "hardened"};

void RequireKnown(const JsonPlace& place, const char* what, const std::string& name, const Names& known) {
  if (!std::ranges::count(known, name)) place.Fail(UnknownName(what, name, known));
}

void RequireKnownFields(const JsonPlace& place, const Names& known) {
  for (const auto& [key, value] : place.Object().json->items()) RequireKnown(place.At(key), "field", key, known);
}

// A name, or "X with Y".
void RequireCapability(const JsonPlace& place, const EmbeddedSuite& suite) {
  const std::string text = place.Text();
  const size_t with = text.find(" with ");
  RequireKnown(place, "capability", text.substr(0, with), suite.capabilities);
  if (with != text.npos) RequireKnown(place, "capability", text.substr(with + 6), suite.capabilities);
}

Names ParseCapabilities(const JsonPlace& place, const EmbeddedSuite& suite) {
  for (const JsonPlace& element : place.Elements()) RequireCapability(element, suite);
  return place.Texts();
}

// Parameter -> value -> the capabilities that a case with this value needs. A parameter that is not listed may have any
// value and needs nothing.
using Parameters = std::map<std::string, std::map<std::string, Names>>;

Parameters ParseParameters(const EmbeddedSuite& suite) {
  const Json json = ParseJson(suite.parameters.text, suite.parameters.path);
  const JsonPlace root{&json, suite.parameters.path, ""};
  Parameters parameters;
  for (const auto& [parameter, values] : root.Object().json->items()) {
    const JsonPlace place = root.At(parameter);
    for (const auto& [value, capabilities] : place.Object().json->items()) {
      parameters[parameter][value] = ParseCapabilities(place.At(value), suite);
    }
  }
  return parameters;
}

// The complete text of one area, and the functions that read it.
class Area {
 public:
  explicit Area(const EmbeddedFile& file) : json_(ParseJson(file.text, file.path)), root_{&json_, file.path, ""} {
    RequireKnownFields(root_, kAreaFields);
    title_ = root_.Member("area").Text();
    prefix_ = root_.Member("prefix").Text();
  }

  std::vector<JsonPlace> Rules() const { return root_.Member("rules").Elements(); }

  Rule Parse(const JsonPlace& place) const {
    RequireKnownFields(place, kRuleFields);
    Rule rule;
    rule.id = place.Member("id").Text();
    if (!std::regex_match(rule.id, std::regex(prefix_ + "[1-9][0-9]*"))) {
      place.At("id").Fail("'" + rule.id + "' is not " + prefix_ + " and a number");
    }
    const JsonPlace level = place.Member("level");
    RequireKnown(level, "level", level.Text(), kLevels);
    rule.level = level.Text() == "MUST" ? Rule::Level::kMust : Rule::Level::kShould;
    rule.sentence = RequireText(place.Member("sentence"));
    rule.source = RequireText(place.Member("source"));
    rule.bites_with = RequireText(place.Member("bites_with"));
    if (place.Has("profile")) {
      RequireKnown(place.At("profile"), "profile", place.At("profile").Text(), kProfiles);
      rule.profile = place.At("profile").Text();
    }
    rule.area = title_;
    rule.place = place.file + ": " + place.pointer;
    return rule;
  }

 private:
  static std::string RequireText(const JsonPlace& place) {
    const std::string text = place.Text();
    if (text.empty()) place.Fail("is empty");
    return text;
  }

  const Json json_;
  const JsonPlace root_;
  std::string title_;
  std::string prefix_;
};

void Append(Names& names, const Names& more) {
  for (const std::string& name : more) {
    if (!std::ranges::count(names, name)) names.push_back(name);
  }
}

// One element of `cases`.
struct RuleGrid {
  Json lists;
  std::vector<TestRanks> ranks;
  Names capabilities;  // the rule's and its own
  std::vector<Need> needs;  // the rule's
};

// Lists of values of the parameters that are known.
void RequireKnownValues(const JsonPlace& place, const Parameters& parameters) {
  for (const auto& [parameter, capabilities_by_value] : parameters) {
    if (!place.Has(parameter)) continue;
    Names names;
    for (const auto& [name, capabilities] : capabilities_by_value) names.push_back(name);
    for (const JsonPlace& value : place.At(parameter).Elements()) {
      RequireKnown(value, parameter.c_str(), value.Text(), names);
    }
  }
}

void AppendCapabilitiesOf(const Json& params, const Parameters& parameters, Names& capabilities) {
  for (const auto& [parameter, value] : params.items()) {
    const auto known = parameters.find(parameter);
    if (known != parameters.end()) Append(capabilities, known->second.at(value.get<std::string>()));
  }
}

RuleGrid ParseRuleGrid(const JsonPlace& rule, const JsonPlace& place, const EmbeddedSuite& suite,
                       const Parameters& parameters) {
  RuleGrid grid;
  grid.lists = ParseGridLists(place, {"world_sizes", "phases", "capabilities"});
  RequireKnownValues(place, parameters);
  grid.ranks = ParseTestRanks(place);
  const JsonPlace& owner = grid.ranks.empty() ? rule : place;
  if (grid.ranks.empty()) grid.ranks = ParseTestRanks(rule);
  if (grid.ranks.empty()) rule.Member("world_sizes");  // says that it is missing
  if (owner.Has("phases")) {
    for (const JsonPlace& phase : owner.At("phases").Elements()) RequireKnownValues(phase, parameters);
  }
  grid.needs = ParseNeeds(rule, [&](const JsonPlace& name) { RequireCapability(name, suite); });
  if (rule.Has("capabilities")) grid.capabilities = ParseCapabilities(rule.At("capabilities"), suite);
  if (place.Has("capabilities")) Append(grid.capabilities, ParseCapabilities(place.At("capabilities"), suite));
  return grid;
}

TestCase MakeRuleCase(const std::string& suite, const std::shared_ptr<const Rule>& rule, const TestRanks& ranks,
                      const RuleGrid& grid, const Json& element, const Parameters& parameters) {
  TestCase test;
  test.id = suite + "/" + rule->id + "/" + VariantText(RanksText(ranks), element);
  test.suite = suite;
  test.upstream_id = test.function = rule->id;
  test.world_size = ranks.world_size;
  test.phases = ranks.phases;
  test.params = element;
  test.capabilities = grid.capabilities;
  AppendCapabilitiesOf(element, parameters, test.capabilities);
  for (const TestPhase& phase : ranks.phases) AppendCapabilitiesOf(phase.params, parameters, test.capabilities);
  test.capabilities = NeededCapabilities(test.capabilities, grid.needs, test.params, ranks);
  test.checks = {{.id = rule->id, .what = rule->sentence, .strength = "strict"}};
  test.rule = rule;
  return test;
}

void AddCases(const EmbeddedSuite& suite, const Parameters& parameters, const JsonPlace& place, const Rule& rule,
              std::vector<TestCase>& tests) {
  const auto shared = std::make_shared<const Rule>(rule);
  const std::vector<JsonPlace> grids = place.Member("cases").Elements();
  if (grids.empty()) place.At("cases").Fail("no case is listed");
  std::set<std::string> ids;
  for (const JsonPlace& case_place : grids) {
    const RuleGrid grid = ParseRuleGrid(place, case_place, suite, parameters);
    for (const TestRanks& ranks : grid.ranks) {
      for (const Json& element : ExpandGrid(grid.lists)) {
        tests.push_back(MakeRuleCase(suite.name, shared, ranks, grid, element, parameters));
        if (!ids.insert(tests.back().id).second) case_place.Fail("test " + tests.back().id + " exists twice");
      }
    }
  }
}

template <class Visit>
void ForEachRule(const EmbeddedSuite& suite, const Visit& visit) {
  std::map<std::string, std::string> places;  // of the ids
  for (const EmbeddedFile& file : suite.areas) {
    const Area area(file);
    for (const JsonPlace& place : area.Rules()) {
      const Rule rule = area.Parse(place);
      const auto [entry, is_new] = places.emplace(rule.id, rule.place);
      if (!is_new) place.At("id").Fail("rule " + rule.id + " exists twice, also at " + entry->second);
      visit(place, rule);
    }
  }
}

}  // namespace

std::vector<Rule> ReadRules(const EmbeddedSuite& suite) {
  std::vector<Rule> rules;
  ForEachRule(suite, [&](const JsonPlace& place, const Rule& rule) { rules.push_back(rule); });
  return rules;
}

std::vector<TestCase> ReadRuleCases(const EmbeddedSuite& suite) {
  const Parameters parameters = ParseParameters(suite);
  std::vector<TestCase> tests;
  ForEachRule(suite, [&](const JsonPlace& place, const Rule& rule) { AddCases(suite, parameters, place, rule, tests); });
  return tests;
}

}  // namespace shardcts
