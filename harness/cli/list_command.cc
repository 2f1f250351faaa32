// shardcts list: the tests that this build carries, whatever the implementation.
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

struct ListCommand {
  SelectionFlags selection;
  bool json = false;
};

const char* RanksText(InventoryCheck::Ranks ranks) {
  switch (ranks) {
    case InventoryCheck::Ranks::kAll: return "all";
    case InventoryCheck::Ranks::kRank0: return "rank0";
    case InventoryCheck::Ranks::kOthers: return "others";
  }
  return "all";
}

Json ToJson(const TestCase& test) {
  Json checks = Json::array();
  for (const InventoryCheck& check : test.checks) {
    checks.push_back({{"id", check.id},
                      {"what", check.what},
                      {"strength", check.strength},
                      {"ranks", RanksText(check.ranks)},
                      {"required", check.required}});
  }
  return {{"id", test.id},
          {"suite", test.suite},
          {"upstream_id", test.upstream_id},
          {"function", test.function},
          {"world_size", test.world_size},
          {"params", test.params},
          {"capabilities", test.capabilities},
          {"not_applicable", test.not_applicable.empty() ? Json() : Json(test.not_applicable)},
          {"checks", checks}};
}

void ExecuteList(const ListCommand& command) {
  Json json = Json::array();
  for (const TestCase& test : command.selection.SelectTests()) {
    if (command.json) {
      json.push_back(ToJson(test));
    } else {
      std::cout << test.id << "\n";
    }
  }
  if (command.json) std::cout << json.dump(1) << "\n";
}

}  // namespace

void AddListCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("list", "Lists the ids of the tests.");
  const auto command = std::make_shared<ListCommand>();
  command->selection.AddTo(*sub);
  sub->add_flag("--json", command->json, "everything the inventory says about them");
  sub->callback([command] { ExecuteList(*command); });
}

}  // namespace shardcts
