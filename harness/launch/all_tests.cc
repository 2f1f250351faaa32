#include "launch/embedded_inventories.h"
#include "launch/inventory.h"

namespace shardcts {

const std::vector<TestCase>& AllTests() {
  static const std::vector<TestCase> tests = [] {
    std::vector<TestCase> all;
    for (const auto& [name, text] : EmbeddedInventories()) {
      const std::vector<TestCase> suite = ParseInventory(text, "suites/" + name + "/upstream.json");
      all.insert(all.end(), suite.begin(), suite.end());
    }
    return all;
  }();
  return tests;
}

std::vector<std::string> AllSuites() {
  std::vector<std::string> names;
  for (const auto& [name, text] : EmbeddedInventories()) names.push_back(name);
  return names;
}

}  // namespace shardcts
