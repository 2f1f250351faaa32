#include "launch/embedded_suites.h"
#include "launch/inventory.h"

namespace shardcts {

const std::vector<TestCase>& AllTests() {
  static const std::vector<TestCase> tests = [] {
    std::vector<TestCase> all;
    for (const EmbeddedSuite& suite : EmbeddedSuites()) {
      const std::vector<TestCase> tests = ParseInventory(suite.inventory, "suites/" + suite.name + "/upstream.json");
      all.insert(all.end(), tests.begin(), tests.end());
    }
    return all;
  }();
  return tests;
}

std::vector<std::string> AllSuites() {
  std::vector<std::string> names;
  for (const EmbeddedSuite& suite : EmbeddedSuites()) names.push_back(suite.name);
  return names;
}

}  // namespace shardcts
