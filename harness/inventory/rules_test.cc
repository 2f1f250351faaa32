#include "inventory/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

// `rules`: the elements of the list.
EmbeddedSuite SuiteOf(const std::string& rules) {
  EmbeddedSuite suite{"x", "", ""};
  suite.parameters = {"p.json", R"({"wrapper": {"plain": [], "fsdp": ["fsdp1"], "fully_shard": ["fsdp2"]}})"};
  suite.areas = {{"a.json", R"({"area": "Geometry", "prefix": "GE", "rules": [)" + rules + "]}"}};
  suite.capabilities = {"core", "fsdp1", "fsdp2", "dsd"};
  return suite;
}

// A rule with this id, level and cases.
std::string RuleText(const std::string& id, const std::string& level, const std::string& rest) {
  return R"({"id": ")" + id + R"(", "level": ")" + level + R"(", "sentence": "rows tile", "source": "a page",)" +
         R"( "bites_with": "n < W", )" + rest + "}";
}

std::string ErrorOf(const EmbeddedSuite& suite) {
  try {
    ReadRuleCases(suite);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

const std::string kCases = R"("world_sizes": [2], "cases": [{}])";

TEST(RulesTest, ARuleHasATestForEachWorldSizeAndElementOfItsCases) {
  const auto tests = ReadRuleCases(SuiteOf(RuleText("GE1", "MUST", R"("world_sizes": [2, 3], "capabilities": ["dsd"],
    "cases": [{"wrapper": ["plain", "fsdp"], "n": [7]}, {"world_sizes": [5], "capabilities": ["core"]}])")));
  std::vector<std::string> ids;
  for (const TestCase& test : tests) ids.push_back(test.id);
  EXPECT_THAT(ids, testing::ElementsAre("x/GE1/world_size=2,wrapper=plain,n=7", "x/GE1/world_size=2,wrapper=fsdp,n=7",
                                        "x/GE1/world_size=3,wrapper=plain,n=7", "x/GE1/world_size=3,wrapper=fsdp,n=7",
                                        "x/GE1/world_size=5"));
  EXPECT_THAT(tests[0].capabilities, testing::ElementsAre("dsd"));
  EXPECT_THAT(tests[1].capabilities, testing::ElementsAre("dsd", "fsdp1"));
  EXPECT_THAT(tests[4].capabilities, testing::ElementsAre("dsd", "core"));
}

TEST(RulesTest, WhatACaseNeedsFollowsFromItsValuesAndWorldSizes) {
  const auto tests = ReadRuleCases(SuiteOf(RuleText("GE1", "MUST", R"("world_sizes": [1, 2],
    "capabilities": ["dsd", "fsdp2 with dsd", "core with fsdp1"],
    "needs": [{"capabilities": ["fsdp1"], "when": {"n": [7]}}], "cases": [{"n": [6, 7]}])")));
  EXPECT_THAT(tests[0].capabilities, testing::ElementsAre("dsd", "fsdp2", "core", "core.one_rank")) << tests[0].id;
  EXPECT_THAT(tests[2].capabilities, testing::ElementsAre("dsd", "fsdp2")) << tests[2].id;
  EXPECT_THAT(tests[3].capabilities, testing::ElementsAre("dsd", "fsdp2", "core", "fsdp1")) << tests[3].id;
}

TEST(RulesTest, TheOnlyCheckOfATestIsItsRule) {
  const TestCase test = ReadRuleCases(SuiteOf(RuleText("GE1", "SHOULD", kCases))).front();
  ASSERT_EQ(test.checks.size(), 1);
  EXPECT_EQ(test.checks[0].id, "GE1");
  EXPECT_EQ(test.checks[0].what, "rows tile");
  EXPECT_EQ(test.checks[0].strength, "strict");
  EXPECT_EQ(test.checks[0].ranks, InventoryCheck::Ranks::kAll);
  EXPECT_EQ(test.function, "GE1");
  EXPECT_EQ(test.upstream_id, "GE1");
  ASSERT_NE(test.rule, nullptr);
  EXPECT_EQ(test.rule->level, Rule::Level::kShould);
  EXPECT_EQ(test.rule->source, "a page");
  EXPECT_EQ(test.rule->area, "Geometry");
  EXPECT_EQ(test.rule->place, "a.json: /rules/0");
}

TEST(RulesTest, RulesAreListedInOrder) {
  const auto rules = ReadRules(SuiteOf(RuleText("GE2", "MUST", kCases) + "," + RuleText("GE1", "MUST", kCases)));
  ASSERT_EQ(rules.size(), 2);
  EXPECT_EQ(rules[0].id, "GE2");
  EXPECT_EQ(rules[1].id, "GE1");
}

TEST(RulesTest, ErrorsNameFileAndPlace) {
  const auto error_of = [](const std::string& rule) { return ErrorOf(SuiteOf(rule)); };
  EXPECT_EQ(error_of(RuleText("GE1", "MAY", kCases)),
            "a.json: /rules/0/level: unknown level \"MAY\"; the nearest known one is \"MUST\"");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", R"("capabilities": ["fdsp1"], )" + kCases)),
            "a.json: /rules/0/capabilities/0: unknown capability \"fdsp1\"; the nearest known one is \"fsdp1\"");
  EXPECT_EQ(
      error_of(RuleText("GE1", "MUST", R"("needs": [{"capabilities": ["fdsp1"]}], )" + kCases)),
      "a.json: /rules/0/needs/0/capabilities/0: unknown capability \"fdsp1\"; the nearest known one is \"fsdp1\"");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", R"("world_sizes": [2], "cases": [{"capabilities": ["dcp"]}])")),
            "a.json: /rules/0/cases/0/capabilities/0: unknown capability \"dcp\"; the nearest known one is \"dsd\"");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", R"("world_sizes": [2], "cases": [{"wrapper": ["plain", "fsdp3"]}])")),
            "a.json: /rules/0/cases/0/wrapper/1: unknown wrapper \"fsdp3\"; the nearest known one is \"fsdp\"");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", R"("world_sizes": [2], "case": [])")),
            "a.json: /rules/0/case: unknown field \"case\"; the nearest known one is \"cases\"");
  EXPECT_EQ(error_of(RuleText("NA1", "MUST", kCases)), "a.json: /rules/0/id: 'NA1' is not GE and a number");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", R"("cases": [{}])")), "a.json: /rules/0: 'world_sizes' is missing");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", R"("world_sizes": [2], "cases": [])")),
            "a.json: /rules/0/cases: no case is listed");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", R"("world_sizes": [2], "cases": [{"n": [1]}, {"n": [1]}])")),
            "a.json: /rules/0/cases/1: test x/GE1/world_size=2,n=1 exists twice");
  EXPECT_EQ(error_of(RuleText("GE1", "MUST", kCases) + "," + RuleText("GE1", "MUST", kCases)),
            "a.json: /rules/1/id: rule GE1 exists twice, also at a.json: /rules/0");
  EXPECT_EQ(error_of(R"({"id": "GE1", "level": "MUST", "sentence": ""})"), "a.json: /rules/0/sentence: is empty");
}

TEST(RulesTest, AParameterThatNeedsAnUnknownCapabilityIsAnError) {
  EmbeddedSuite suite = SuiteOf(RuleText("GE1", "MUST", kCases));
  suite.parameters.text = R"({"wrapper": {"fsdp": ["fsdp3"]}})";
  EXPECT_EQ(ErrorOf(suite), "p.json: /wrapper/fsdp/0: unknown capability \"fsdp3\"; the nearest known one is \"fsdp1\"");
}

}  // namespace
}  // namespace shardcts
