#include "inventory/phases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "inventory/inventory.h"
#include "inventory/rules.h"
#include "inventory/selection.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using testing::ElementsAre;

// A suite with one function, of which `ranks` says the phases.
std::string SuiteText(const std::string& ranks, const std::string& check = R"({"id": "C1", "strength": "strict"})") {
  return R"({"suite": "s", "tests": [{"function": "f", "instances": [{"id": "T.f"}], "checks": [)" + check + "], " + ranks +
         "}]}";
}

std::vector<std::string> IdsOfTests(const std::vector<TestCase>& tests) {
  std::vector<std::string> ids;
  for (const TestCase& test : tests) ids.push_back(test.id);
  return ids;
}

std::string ErrorOfInventory(const std::string& text) {
  try {
    ParseInventory(text, "x.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

const char* const kSaveLoad = R"("phases": [{"role": "save", "world": 2}, {"role": "load", "world": [3, 1]}])";

TEST(PhasesTest, EveryCombinationOfWorldSizesIsATest) {
  const auto tests = ParseInventory(SuiteText(kSaveLoad), "x.json");
  EXPECT_THAT(IdsOfTests(tests), ElementsAre("s/T.f/save=2,load=3", "s/T.f/save=2,load=1"));
  EXPECT_EQ(tests[0].world_size, 3);
  EXPECT_EQ(tests[1].world_size, 2);
  ASSERT_EQ(tests[0].phases.size(), 2u);
  EXPECT_EQ(tests[0].phases[1].index, 1u);
  EXPECT_TRUE(tests[0].phases[1].loads());
  EXPECT_EQ(PhaseName(tests[0], 1), "phase 2 of 2 (load, 3 ranks)");
  EXPECT_EQ(PhaseName(tests[1], 1), "phase 2 of 2 (load, 1 rank)");
}

TEST(PhasesTest, APhaseMayHaveParametersOfItsOwn) {
  const auto tests = ParseInventory(SuiteText(R"("phases": [{"role": "save", "world": 4, "mesh": ["4", "2x2"]}], "subtests": [{"n": [7]}])"), "x.json");
  EXPECT_THAT(IdsOfTests(tests), ElementsAre("s/T.f/save=4(mesh=4),n=7", "s/T.f/save=4(mesh=2x2),n=7"));
  EXPECT_EQ(tests[1].phases[0].params["mesh"], "2x2");
}

TEST(PhasesTest, AGridMayHaveItsOwnPhases) {
  const auto tests = ParseInventory(SuiteText(R"("world_sizes": [2], "subtests": [{"n": [1]}, {"phases": [{"role": "load", "world": 1}]}])"), "x.json");
  EXPECT_THAT(IdsOfTests(tests), ElementsAre("s/T.f/world_size=2,n=1", "s/T.f/load=1"));
}

TEST(PhasesTest, AChecksPhaseIsTheLastUnlessItSaysAnother) {
  const auto tests = ParseInventory(
      SuiteText(kSaveLoad, R"({"id": "C1", "strength": "strict", "phase": 1}, {"id": "C2", "strength": "strict", "ranks": [0]})"), "x.json");
  EXPECT_EQ(CaseOfPhase(tests[0], 0).checks.front().id, "C1");
  EXPECT_EQ(CaseOfPhase(tests[0], 1).checks.front().id, "C2");
  EXPECT_EQ(CaseOfPhase(tests[0], 0).world_size, 2);
  EXPECT_EQ(CaseOfPhase(tests[0], 1).world_size, 3);
}

TEST(PhasesTest, ErrorsNameThePlace) {
  EXPECT_EQ(ErrorOfInventory(SuiteText(R"("phases": [])")), "x.json: /tests/0/phases: expected 1 to 8 phases");
  EXPECT_EQ(ErrorOfInventory(SuiteText(R"("phases": [{"role": "sawe", "world": 2}])")),
            "x.json: /tests/0/phases/0/role: unknown role \"sawe\"; the nearest known one is \"save\"");
  EXPECT_EQ(ErrorOfInventory(SuiteText(R"("phases": [{"role": "save"}])")), "x.json: /tests/0/phases/0: 'world' is missing");
  EXPECT_EQ(ErrorOfInventory(SuiteText(R"("phases": [{"role": "save", "world": 0}])")),
            "x.json: /tests/0/phases/0/world: expected a positive integer up to 4096");
  EXPECT_EQ(ErrorOfInventory(SuiteText(R"("phases": [{"role": "save", "world": 2, "world_size": 2}])")),
            "x.json: /tests/0/phases/0/world_size: a phase says \"world\"");
  EXPECT_EQ(ErrorOfInventory(SuiteText(R"("world_sizes": [2], "phases": [{"role": "save", "world": 2}])")),
            "x.json: /tests/0/world_sizes: phases say their world sizes themselves");
  EXPECT_EQ(ErrorOfInventory(SuiteText(kSaveLoad, R"({"id": "C1", "strength": "strict", "phase": 3})")),
            "x.json: /tests/0/instances/0: test s/T.f/save=2,load=3 has no phase 3");
  EXPECT_EQ(ErrorOfInventory(SuiteText(kSaveLoad, R"({"id": "C1", "strength": "strict", "ranks": [2], "phase": 1})")),
            "x.json: /tests/0/instances/0: test s/T.f/save=2,load=3 has no rank 2");
}

TEST(PhasesTest, CasesOfRulesMayHavePhases) {
  EmbeddedSuite suite{"x", "", ""};
  suite.parameters = {"p.json", R"({"wrapper": {"plain": [], "fsdp": ["fsdp1"]}})"};
  suite.capabilities = {"storage", "fsdp1"};
  const std::string rule = R"({"id": "RS1", "level": "MUST", "sentence": "a", "source": "b", "bites_with": "c",
    "capabilities": ["storage"], "cases": [{"phases": [{"role": "save", "world": 2, "wrapper": ["WRAPPER"]},
                                                       {"role": "load", "world": [3]}], "n": [5]}]})";
  const auto with = [&](const std::string& wrapper) {
    std::string text = rule;
    text.replace(text.find("WRAPPER"), 7, wrapper);
    suite.areas = {{"a.json", R"({"area": "Resharding", "prefix": "RS", "rules": [)" + text + "]}"}};
    return suite;
  };
  const auto tests = ReadRuleCases(with("fsdp"));
  EXPECT_THAT(IdsOfTests(tests), ElementsAre("x/RS1/save=2(wrapper=fsdp),load=3,n=5"));
  EXPECT_THAT(tests[0].capabilities, ElementsAre("storage", "fsdp1"));
  EXPECT_THROW(ReadRuleCases(with("fsdb")), InputError);
}

TEST(PhasesTest, ATestIsSelectedWhenTheWorldSizesOfAllItsPhasesAre) {
  const auto tests = ParseInventory(SuiteText(kSaveLoad), "x.json");
  EXPECT_THAT(IdsOfTests(Select(tests, {.world_sizes = {2, 3}})), ElementsAre("s/T.f/save=2,load=3"));
  EXPECT_THROW(Select(tests, {.world_sizes = {2}}), InputError);
  EXPECT_THROW(Select(tests, {.max_world_size = 2}), InputError);
}

}  // namespace
}  // namespace shardcts
