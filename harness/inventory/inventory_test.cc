#include "inventory/inventory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>

#include "inventory/embedded_suites.h"
#include "run_files/input_error.h"

namespace shardcts {

constexpr const char* kInventory = R"({
  "suite": "s", "source": {"repo": "r", "path": "p", "commit": "c"},
  "tests": [
    {"function": "test_grid", "capabilities": ["fsdp2"], "world_sizes": [2, 4],
     "instances": [{"id": "T.test_grid_x", "params": {"x": true}}],
     "needs": [{"capabilities": ["hsdp", "fsdp2.x.y"], "when": {"mesh": ["2-D", "3-D"], "world_size": [4]}},
               {"capabilities": ["fsdp2.z"], "when": {"x": [false]}}],
     "subtests": [{"mesh": ["1-D", "2-D"], "dim": [2, 3]}, {"world_sizes": [4], "mesh": ["3-D"]}],
     "checks": [
       {"id": "C1", "what": "always", "strength": "strict"},
       {"id": "C2", "strength": "weak", "ranks": "rank0", "active": {"dim": [3]}},
       {"id": "C3", "strength": "vacuous", "ranks": "others", "required": false,
        "active": {"world_size": [4], "x": [true]}}]},
    {"function": "test_plain", "world_sizes": [1], "capabilities": ["fsdp2", "tp"],
     "checks": [{"id": "C1", "strength": "strict", "ranks": [0]},
                {"id": "C2", "strength": "strict", "active": {"world_size": [1]}},
                {"id": "C2", "strength": "strict", "ranks": "others", "active": {"world_size": [4]}}],
     "instances": [{"id": "T.test_plain", "not_applicable": "needs two ranks"}]}]})";

std::vector<EmbeddedSuite> EmbeddedSuites() { return {{"s", kInventory, ""}}; }

namespace {

std::string ErrorOf(const std::string& text) {
  try {
    ParseInventory(text, "x.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

std::string Ids(const TestCase& test) {
  std::string ids;
  for (const InventoryCheck& check : test.checks) ids += check.id + " ";
  return ids;
}

TEST(InventoryTest, AGridMayBeForSomeInstancesOnly) {
  const std::vector<TestCase> tests = ParseInventory(R"({
    "suite": "s", "source": {"repo": "r", "path": "p", "commit": "c"},
    "tests": [{"function": "f", "world_sizes": [2], "checks": [],
               "instances": [{"id": "T.a", "params": {"kind": "a"}}, {"id": "T.b", "params": {"kind": "b"}}],
               "subtests": [{"when": {"kind": ["a"]}, "x": [1, 2]}, {"when": {"kind": ["b"]}, "x": [3]}]}]})",
                                                     "x.json");
  std::vector<std::string> ids;
  for (const TestCase& test : tests) ids.push_back(test.id);
  EXPECT_THAT(ids, testing::ElementsAre("s/T.a/world_size=2,x=1", "s/T.a/world_size=2,x=2", "s/T.b/world_size=2,x=3"));
}

TEST(InventoryTest, UpstreamMayLeaveTheTestsOfAGridAtOnce) {
  const std::vector<TestCase> tests = ParseInventory(R"({
    "suite": "s", "source": {"repo": "r", "path": "p", "commit": "c"},
    "tests": [{"function": "f", "world_sizes": [2], "checks": [], "instances": [{"id": "T.f"}],
               "subtests": [{"x": [1]}, {"x": [2, 3], "not_applicable": "only 1 is tested"}]}]})", "x.json");
  std::vector<std::string> reasons;
  for (const TestCase& test : tests) reasons.push_back(test.not_applicable);
  EXPECT_THAT(reasons, testing::ElementsAre("", "only 1 is tested", "only 1 is tested"));
  EXPECT_EQ(tests.back().params.dump(), R"({"x":3})");
}

TEST(InventoryTest, LastKeyOfAGridVariesFastest) {
  std::vector<std::string> ids;
  for (const TestCase& test : AllTests()) ids.push_back(test.id);
  const std::string grid = "s/T.test_grid_x/world_size=";
  EXPECT_THAT(ids, testing::ElementsAre(grid + "2,mesh=1-D,dim=2", grid + "2,mesh=1-D,dim=3", grid + "2,mesh=2-D,dim=2",
                                        grid + "2,mesh=2-D,dim=3", grid + "4,mesh=1-D,dim=2", grid + "4,mesh=1-D,dim=3",
                                        grid + "4,mesh=2-D,dim=2", grid + "4,mesh=2-D,dim=3", grid + "4,mesh=3-D",
                                        "s/T.test_plain/world_size=1"));
}

TEST(InventoryTest, WhatATestNeedsFollowsFromItsParametersAndWorldSize) {
  const auto needed = [](const std::string& end) {
    const auto test = std::ranges::find(AllTests(), "s/T.test_grid_x/world_size=" + end, &TestCase::id);
    return test->capabilities;
  };
  EXPECT_THAT(needed("2,mesh=2-D,dim=2"), testing::ElementsAre("fsdp2"));
  EXPECT_THAT(needed("4,mesh=1-D,dim=2"), testing::ElementsAre("fsdp2"));
  EXPECT_THAT(needed("4,mesh=2-D,dim=3"), testing::ElementsAre("fsdp2", "hsdp", "fsdp2.x", "fsdp2.x.y"))
      << "a part is needed with what it is a part of";
}

TEST(InventoryTest, ParametersAreTheInstancesThenTheSubtests) {
  const TestCase& test = AllTests()[1];
  EXPECT_EQ(test.params.dump(), R"({"x":true,"mesh":"1-D","dim":3})");
  EXPECT_EQ(test.upstream_id, "T.test_grid_x");
  EXPECT_EQ(test.function, "test_grid");
  EXPECT_EQ(test.capabilities, std::vector<std::string>{"fsdp2"});
}

TEST(InventoryTest, ChecksAreThoseActiveForTheCase) {
  EXPECT_EQ(Ids(AllTests()[0]), "C1 ");
  EXPECT_EQ(Ids(AllTests()[1]), "C1 C2 ");
  EXPECT_EQ(Ids(AllTests()[5]), "C1 C2 C3 ");
  const InventoryCheck& check = AllTests()[5].checks[2];
  EXPECT_EQ(check.ranks, InventoryCheck::Ranks::kOthers);
  EXPECT_FALSE(check.required);
}

TEST(InventoryTest, RanksMayBeListed) {
  const InventoryCheck& check = AllTests().back().checks.front();
  EXPECT_EQ(check.ranks, InventoryCheck::Ranks::kListed);
  EXPECT_EQ(check.listed_ranks, std::vector<int>{0});
}

TEST(InventoryTest, ACheckMayHaveARuleForEachCase) {
  EXPECT_EQ(Ids(AllTests().back()), "C1 C2 ");
  EXPECT_EQ(AllTests().back().checks.back().ranks, InventoryCheck::Ranks::kAll);
}

TEST(InventoryTest, UpstreamsSkipIsKept) { EXPECT_EQ(AllTests().back().not_applicable, "needs two ranks"); }

TEST(InventoryTest, ASuiteHasASize) {
  ASSERT_EQ(AllSuites().size(), 1);
  const SuiteSize size = AllSuites().front();
  EXPECT_EQ(size.name, "s");
  EXPECT_EQ(size.functions, 2);
  EXPECT_EQ(size.instances, 2);
  EXPECT_EQ(size.ids, 10);
  EXPECT_EQ(size.checks, 5) << "C2 of test_plain has two entries";
  EXPECT_EQ(size.unreached, 0);
}

TEST(InventoryTest, UnreachedChecksAreCountedApart) {
  const SuiteSize size = MeasureInventory(R"({"suite": "s", "tests": [{"function": "f", "world_sizes": [1],
    "instances": [{"id": "T.f"}], "checks": [{"id": "C1", "strength": "unreached"}, {"id": "C2", "strength": "weak"}]}]})",
                                          "x.json");
  EXPECT_EQ(size.checks, 2);
  EXPECT_EQ(size.unreached, 1);
}

std::vector<TestCase> TestsOfSuite(const std::string& suite) {
  const std::string path = std::string(SUITES_FOLDER) + "/" + suite + "/upstream.json";
  std::ifstream file(path);
  return ParseInventory({std::istreambuf_iterator<char>(file), {}}, path);
}

struct TestCounts {
  size_t instances = 0;
  size_t tests = 0;
  size_t not_applicable = 0;
  bool operator==(const TestCounts&) const = default;
};

TestCounts SizeOf(const std::string& suite) {
  std::set<std::string> instances;
  TestCounts size;
  for (const TestCase& test : TestsOfSuite(suite)) {
    instances.insert(test.upstream_id);
    ++size.tests;
    size.not_applicable += !test.not_applicable.empty();
  }
  size.instances = instances.size();
  return size;
}

TEST(InventoryTest, TheInventoriesHaveEveryInstance) {
  EXPECT_EQ(SizeOf("fully_shard_state_dict"), (TestCounts{7, 85, 0}));
  // Four instances have two subtests: those of test_state_dict_save_load_flow and test_sharded_load_multi_backend_pg.
  EXPECT_EQ(SizeOf("fsdp_state_dict"), (TestCounts{179, 183, 47}));
  EXPECT_EQ(SizeOf("fsdp_optim_state"), (TestCounts{60, 272, 16}));
  // Upstream leaves 18 subtests of test_fsdp at once, and 2 of test_multi_param_groups.
  EXPECT_EQ(SizeOf("state_dict"), (TestCounts{25, 76, 20}));
  // Tests of the same class and name in two files are one instance.
  EXPECT_EQ(SizeOf("dcp"), (TestCounts{99, 110, 3}));
}

TEST(InventoryTest, ErrorsNameFileAndPlace) {
  EXPECT_EQ(ErrorOf("{\"suite\": "), "x.json: line 1, column 11: truncated");
  EXPECT_EQ(ErrorOf("[]"), "x.json: /: expected an object, got array");
  EXPECT_EQ(ErrorOf(R"({"suite": "s"})"), "x.json: /: 'tests' is missing");
  EXPECT_EQ(ErrorOf(R"({"suite": "s", "tests": [{"function": 3}]})"),
            "x.json: /tests/0/function: expected a string, got number");
  const auto with_test = [](const std::string& members) {
    return R"({"suite": "s", "tests": [{"function": "f", )" + members + "}]}";
  };
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [2, 0])")),
            "x.json: /tests/0/world_sizes/1: expected a positive integer up to 4096");
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [2], "subtests": [{"mesh": "1-D"}])")),
            "x.json: /tests/0/subtests/0/mesh: expected a list with at least one value");
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [2], "checks": [{"id": "C1", "strength": "solid"}])")),
            "x.json: /tests/0/checks/0/strength: 'solid' is none of strict, weak, vacuous, unreached");
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [2], "checks": [{"id": "C1", "strength": "weak", "ranks": "some"}])")),
            "x.json: /tests/0/checks/0/ranks: 'some' is none of all, rank0, others");
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [2], "checks": [{"id": "C1", "strength": "weak", "ranks": [-1]}])")),
            "x.json: /tests/0/checks/0/ranks/0: expected a rank");
  const std::string instances = R"(], "instances": [{"id": "T.f"}])";
  const std::string check = R"({"id": "C1", "strength": "weak", "ranks": [0, 2]})";
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [2], "checks": [)" + check + instances)),
            "x.json: /tests/0/instances/0: test s/T.f/world_size=2 has no rank 2");
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [4], "checks": [)" + check + "," + check + instances)),
            "x.json: /tests/0/instances/0: test s/T.f/world_size=4 has check C1 twice");
  EXPECT_EQ(ErrorOf(with_test(R"("world_sizes": [2], "checks": [], "instances": [{"id": "T.f"}, {"id": "T.f"}])")),
            "x.json: /tests/0/instances/1: test s/T.f/world_size=2 exists twice");
}

}  // namespace
}  // namespace shardcts
