#include <algorithm>

#include "inventory/embedded_suites.h"
#include "inventory/inventory.h"
#include "inventory/rules.h"

namespace shardcts {
namespace {

std::string FileOf(const EmbeddedSuite& suite) { return "suites/" + suite.name + "/upstream.json"; }

std::vector<TestCase> TestsOf(const EmbeddedSuite& suite) {
  return suite.inventory.empty() ? ReadRuleCases(suite) : ParseInventory(suite.inventory, FileOf(suite));
}

SuiteSize SizeOf(const EmbeddedSuite& suite) {
  if (!suite.inventory.empty()) return MeasureInventory(suite.inventory, FileOf(suite));
  SuiteSize size{.name = suite.name, .rules = ReadRules(suite)};
  size.functions = size.instances = size.checks = static_cast<int>(size.rules.size());
  return size;
}

}  // namespace

const std::vector<TestCase>& AllTests() {
  static const std::vector<TestCase> tests = [] {
    std::vector<TestCase> all;
    for (const EmbeddedSuite& suite : EmbeddedSuites()) {
      const std::vector<TestCase> tests = TestsOf(suite);
      all.insert(all.end(), tests.begin(), tests.end());
    }
    return all;
  }();
  return tests;
}

std::vector<SuiteSize> AllSuites() {
  std::vector<SuiteSize> sizes;
  for (const EmbeddedSuite& suite : EmbeddedSuites()) {
    sizes.push_back(SizeOf(suite));
    sizes.back().ids = static_cast<int>(std::ranges::count(AllTests(), sizes.back().name, &TestCase::suite));
  }
  return sizes;
}

}  // namespace shardcts
