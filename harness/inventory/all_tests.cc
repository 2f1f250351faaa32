#include <algorithm>

#include "inventory/embedded_suites.h"
#include "inventory/inventory.h"

namespace shardcts {
namespace {

std::string FileOf(const EmbeddedSuite& suite) { return "suites/" + suite.name + "/upstream.json"; }

}  // namespace

const std::vector<TestCase>& AllTests() {
  static const std::vector<TestCase> tests = [] {
    std::vector<TestCase> all;
    for (const EmbeddedSuite& suite : EmbeddedSuites()) {
      const std::vector<TestCase> tests = ParseInventory(suite.inventory, FileOf(suite));
      all.insert(all.end(), tests.begin(), tests.end());
    }
    return all;
  }();
  return tests;
}

std::vector<SuiteSize> AllSuites() {
  std::vector<SuiteSize> sizes;
  for (const EmbeddedSuite& suite : EmbeddedSuites()) {
    sizes.push_back(MeasureInventory(suite.inventory, FileOf(suite)));
    sizes.back().ids = static_cast<int>(std::ranges::count(AllTests(), sizes.back().name, &TestCase::suite));
  }
  return sizes;
}

}  // namespace shardcts
