#include "rank/trial.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "inventory/inventory.h"
#include "rank/testing/lone_rank.h"

namespace shardcts {
namespace {

class TrialTest : public testing::Test {
 protected:
  TrialTest() {
    test_.id = "suite/Class.test_x/world_size=1";
    test_.params = {{"dim", 3}, {"flag", true}, {"mesh", "1-D"}};
    for (const char* id : {"C1", "C2"}) test_.checks.push_back({.id = id});
  }

  LoneRank rank_{[](std::string_view operation, const Dict&) -> Outcome {
    if (operation == "model.build") return Value(Handle{"model", 1});
    return Error{"RuntimeError", "no such thing as a forward"};
  }};
  TestCase test_;
  Trial t_{test_, rank_.session()};
};

TEST_F(TrialTest, CountsEvaluationsStrictFormsAndFailures) {
  EXPECT_TRUE(t_.Check("C1", {}));
  EXPECT_FALSE(t_.Check("C1", {false, "wrong"}));
  t_.Strict("C1", {});
  EXPECT_EQ(t_.checks().at("C1").evaluated, 3);
  EXPECT_EQ(t_.checks().at("C1").strict, 1);
  EXPECT_EQ(t_.checks().at("C1").failed, 1);
  ASSERT_EQ(t_.failures().size(), 1u);
  EXPECT_EQ(t_.failures()[0].message, "wrong");
  EXPECT_NE(t_.failures()[0].line, 0);
  EXPECT_TRUE(t_.failed());
}

TEST_F(TrialTest, AnUnknownCheckIsOurFault) { EXPECT_THROW(t_.Check("C9", {}), HarnessError); }

TEST_F(TrialTest, ParametersAreTyped) {
  EXPECT_EQ(t_.IntParam("dim"), 3);
  EXPECT_TRUE(t_.BoolParam("flag"));
  EXPECT_EQ(t_.TextParam("mesh"), "1-D");
  EXPECT_THROW(t_.IntParam("mesh"), HarnessError);
  EXPECT_THROW(t_.IntParam("depth"), HarnessError);
}

TEST_F(TrialTest, APhaseKnowsItsRoleAndItsParameters) {
  EXPECT_THROW(t_.Phase(), HarnessError) << "the test has none";
  test_.phases = {{.index = 0, .role = "save", .world_size = 2}, {.index = 1, .role = "load", .params = {{"dim", 5}}}};
  Trial loading(test_, rank_.session(), PlannedPhase{1, "/folder"});
  EXPECT_EQ(loading.Phase().index, 1u);
  EXPECT_EQ(loading.Phase().role, "load");
  EXPECT_EQ(loading.Phases().front().world_size, 2);
  EXPECT_EQ(loading.IntParam("dim"), 5) << "of the phase before that of the test";
  EXPECT_EQ(loading.TextParam("mesh"), "1-D");
}

TEST_F(TrialTest, NoErrorFailsAndEndsTheTest) {
  Model model = t_.subject().Build("mlp", {});
  EXPECT_THROW(t_.NoError("C2", [&] { model.Forward({}); }), OperationFailed);
  EXPECT_EQ(t_.checks().at("C2").failed, 1);
  EXPECT_EQ(t_.failures()[0].operation, "model.forward");
}

TEST_F(TrialTest, RaisesWantsKindAndText) {
  Model model = t_.subject().Build("mlp", {});
  const auto forward = [&] { model.Forward({}); };
  EXPECT_TRUE(t_.Raises("C1", "RuntimeError", "no such thing", forward));
  EXPECT_FALSE(t_.Raises("C1", "ValueError", "no such thing", forward));
  EXPECT_FALSE(t_.Raises("C1", "RuntimeError", "something else", forward));
  EXPECT_FALSE(t_.Raises("C1", "RuntimeError", "", [] {}));
}

TEST_F(TrialTest, ARuleIsItsTestsOnlyCheck) {
  EXPECT_THROW(t_.Rule({}), HarnessError) << "a test of upstream has no rule";
  TestCase test;
  test.checks = {{.id = "GE1"}};
  test.rule = std::make_shared<const shardcts::Rule>(shardcts::Rule{.id = "GE1"});
  Trial trial(test, rank_.session());
  Model model = trial.subject().Build("mlp", {});
  EXPECT_TRUE(trial.Rule({}));
  EXPECT_FALSE(trial.Rule({false, "wrong"}));
  EXPECT_TRUE(trial.RuleRaises("RuntimeError", "no such thing", [&] { model.Forward({}); }));
  EXPECT_FALSE(trial.RuleRaises("RuntimeError", "", [] {}));
  trial.FailUnexpectedly("an operation failed");
  EXPECT_EQ(trial.checks().at("GE1").evaluated, 5);
  EXPECT_EQ(trial.checks().at("GE1").strict, 5);
  EXPECT_EQ(trial.checks().at("GE1").failed, 3);
  EXPECT_EQ(trial.failures().back().check, "GE1");
}

TEST_F(TrialTest, KeepsTheFirstFailuresAndCountsAll) {
  for (int i = 0; i < 100; ++i) t_.Check("C1", {false, std::to_string(i)});
  EXPECT_EQ(t_.failures().size(), 20u);
  EXPECT_EQ(t_.checks().at("C1").failed, 100);
}

}  // namespace
}  // namespace shardcts
