// Every entry of the suites' inventories has a port, and every port an entry.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "inventory/inventory.h"
#include "rank/port.h"
#include "rank/session.h"
#include "rank/test_runner.h"

namespace shardcts {
namespace {

std::string ErrorOf(const std::vector<TestCase>& inventory, const std::vector<Suite>& suites) {
  try {
    CheckPortsAgainstInventory(inventory, suites);
  } catch (const HarnessError& error) {
    return error.what();
  }
  return "";
}

TEST(PortsTest, InventoriesAndPortsMatch) {
  std::vector<std::string> names;
  for (const Suite& suite : AllPorts()) names.push_back(suite.name);
  EXPECT_THAT(names, testing::ElementsAre("fsdp_optim_state", "fsdp_state_dict", "fully_shard_state_dict", "state_dict",
                                          "extended", "storage", "dcp"));
  std::vector<std::string> listed;
  for (const SuiteSize& suite : AllSuites()) listed.push_back(suite.name);
  EXPECT_EQ(names, listed);
  EXPECT_EQ(ErrorOf(AllTests(), AllPorts()), "");
}

TEST(PortsTest, EachPortThatIsMissingIsAnError) {
  const std::vector<Suite> suites = AllPorts();
  for (size_t i = 0; i < suites.size(); ++i) {
    for (size_t port = 0; port < suites[i].ports.size(); ++port) {
      std::vector<Suite> fewer = suites;
      fewer[i].ports.erase(fewer[i].ports.begin() + static_cast<std::ptrdiff_t>(port));
      const std::string name = suites[i].name + "/" + suites[i].ports[port].function;
      const auto test = std::ranges::find_if(AllTests(), [&](const TestCase& test) {
        return test.suite == suites[i].name && test.function == suites[i].ports[port].function;
      });
      const std::string entry = test->rule ? test->rule->place + ": rule" : "inventory entry";
      EXPECT_EQ(ErrorOf(AllTests(), fewer), entry + " without a body: " + name);
    }
  }
}

TEST(PortsTest, EachEntryThatIsMissingIsAnError) {
  for (const Suite& suite : AllPorts()) {
    for (const Port& port : suite.ports) {
      std::vector<TestCase> fewer = AllTests();
      std::erase_if(fewer, [&](const TestCase& test) { return test.suite == suite.name && test.function == port.function; });
      const std::string at = port.place.empty() ? "" : port.place + ": ";
      EXPECT_EQ(ErrorOf(fewer, AllPorts()), at + "body without an inventory entry: " + suite.name + "/" + port.function);
    }
  }
}

TEST(PortsTest, ARuleAndItsBodyAreNamedWithTheirPlaces) {
  const std::vector<SuiteSize> suites = AllSuites();
  const auto suite = std::ranges::find(suites, "extended", &SuiteSize::name);
  ASSERT_NE(suite, suites.end());
  EXPECT_THAT(suite->rules.front().place, testing::StartsWith("suites/extended/rules/geometry.json: /rules/0"));
  for (const Suite& one : AllPorts()) {
    for (const Port& port : one.ports) {
      if (one.name != "extended") continue;
      EXPECT_THAT(port.place, testing::MatchesRegex("suites/extended/[a-z_]+\\.cc:[0-9]+"));
    }
  }
}

TEST(PortsTest, TwoBodiesForOneFunctionAreAnError) {
  std::vector<Suite> suites = AllPorts();
  suites.front().ports.push_back(suites.front().ports.front());
  EXPECT_THAT(ErrorOf(AllTests(), suites), testing::HasSubstr("two bodies for"));
}

}  // namespace
}  // namespace shardcts
