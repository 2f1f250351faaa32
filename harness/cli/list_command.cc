// shardcts list: the tests of this build, which do not depend on the implementation.
#include <iostream>
#include <memory>
#include <set>

#include "cli/commands.h"
#include "cli/flags.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

struct ListCommand {
  SelectionFlags selection;
  WaiverFlags waivers;
  bool json = false;
  bool waived = false;
};

Json RanksJson(const InventoryCheck& check) {
  switch (check.ranks) {
    case InventoryCheck::Ranks::kAll: return "all";
    case InventoryCheck::Ranks::kRank0: return "rank0";
    case InventoryCheck::Ranks::kOthers: return "others";
    case InventoryCheck::Ranks::kListed: return check.listed_ranks;
  }
  return "all";
}

Json WaiversJson(const std::vector<const Waiver*>& waivers) {
  Json json = Json::array();
  for (const Waiver* waiver : waivers) json.push_back(shardcts::ToJson(*waiver));
  return json;
}

Json RuleJson(const TestCase& test) {
  if (!test.rule) return nullptr;
  return {{"id", test.rule->id},
          {"level", ToString(test.rule->level)},
          {"profile", test.rule->profile.empty() ? Json() : Json(test.rule->profile)},
          {"sentence", test.rule->sentence},
          {"source", test.rule->source}};
}

Json PhasesJson(const TestCase& test) {
  Json phases = Json::array();
  for (const TestPhase& phase : test.phases) {
    phases.push_back({{"role", phase.role}, {"world_size", phase.world_size}, {"params", phase.params}});
  }
  return phases;
}

Json ToJson(const TestCase& test, const std::vector<const Waiver*>& waivers) {
  Json checks = Json::array();
  for (const InventoryCheck& check : test.checks) {
    checks.push_back({{"id", check.id},
                      {"what", check.what},
                      {"strength", check.strength},
                      {"ranks", RanksJson(check)},
                      {"required", check.required}});
    if (check.phase) checks.back()["phase"] = *check.phase + 1;
  }
  return {{"id", test.id},
          {"suite", test.suite},
          {"rule", RuleJson(test)},
          {"upstream_id", test.upstream_id},
          {"function", test.function},
          {"world_size", test.world_size},
          {"params", test.params},
          {"phases", PhasesJson(test)},
          {"capabilities", test.capabilities},
          {"not_applicable", test.not_applicable.empty() ? Json() : Json(test.not_applicable)},
          {"checks", checks},
          {"waivers", WaiversJson(waivers)}};
}

// Whatever the implementation and device.
std::vector<const Waiver*> WaiversOf(const TestCase& test, const std::vector<Waiver>& waivers) {
  std::vector<const Waiver*> found;
  for (const Waiver& waiver : waivers) {
    if (FitsWhole(waiver.test, test.id)) found.push_back(&waiver);
  }
  return found;
}

// `new_rule`: it is the first one of its rule.
void Print(const TestCase& test, bool new_rule, const std::vector<const Waiver*>& waivers) {
  std::cout << test.id << "\n";
  if (new_rule) std::cout << "  " << ToString(test.rule->level) << ": " << test.rule->sentence << "\n";
  for (const Waiver* waiver : waivers) std::cout << "  " << Describe(*waiver) << "\n";
}

void ExecuteList(const ListCommand& command) {
  Json json = Json::array();
  const std::vector<Waiver> waivers = command.waivers.Waivers();
  std::set<std::string> rules;  // that were printed
  for (const TestCase& test : command.selection.SelectTests()) {
    const std::vector<const Waiver*> found = WaiversOf(test, waivers);
    if (command.waived && found.empty()) continue;
    if (command.json) {
      json.push_back(ToJson(test, found));
    } else {
      const bool new_rule = test.rule && rules.insert(test.rule->id).second;
      Print(test, new_rule, command.waived ? found : std::vector<const Waiver*>());
    }
  }
  if (command.json) std::cout << json.dump(1) << "\n";
}

}  // namespace

void AddListCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("list", "Lists the ids of the tests.");
  const auto command = std::make_shared<ListCommand>();
  command->selection.AddTo(*sub);
  command->waivers.AddTo(*sub);
  sub->add_flag("--waived", command->waived, "only tests that a waiver names, with their waivers");
  sub->add_flag("--json", command->json, "everything the inventory says about them");
  sub->callback([command] { ExecuteList(*command); });
}

}  // namespace shardcts
