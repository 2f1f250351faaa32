#include "suites/state_dict/comparisons.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "inventory/inventory.h"
#include "rank/testing/lone_rank.h"
#include "suites/state_dict/expected_state.h"

namespace shardcts::state_dict {
namespace {

constexpr OptimizerStateChecks kChecks{.count = "C1", .names = "C2", .states = "C3", .state_names = "C4",
                                       .state_values = "C5", .groups = "C6", .group_entries = "C7", .params = "C8",
                                       .options = "C9"};

Dict AdamEntry(double step) {
  return {{"step", at::full({}, step)}, {"exp_avg", at::ones({2})}, {"exp_avg_sq", at::ones({2})}};
}

// A test for SGD, in which C2 to C5 are not active, and one for Adam.
class StateComparison : public testing::Test {
 protected:
  StateComparison() {
    for (const char* id : {"C1", "C6", "C7", "C8", "C9"}) sgd_case_.checks.push_back({.id = id});
    adam_case_ = sgd_case_;
    for (const char* id : {"C2", "C3", "C4", "C5"}) adam_case_.checks.push_back({.id = id});
  }

  static TrainedOptimizer Trained(const char* kind) {
    return {.kind = kind, .lr = 0.5, .steps = 3, .parameters = {{"w", at::zeros({2})}, {"b", at::zeros({2})}}};
  }
  // The state dict of an unsharded optimizer over w and b.
  static Dict Own(const Dict& state) { return {{"state", state}, {"param_groups", List{}}}; }
  static std::string ErrorOf(Trial& t, const Dict& own) {
    try {
      ExpectedStateOf(t, Trained("adam"), own);
    } catch (const ContractViolation& violation) {
      return violation.what();
    }
    return "none";
  }

  LoneRank rank_{[](std::string_view, const Dict&) -> Outcome { return Error{"RuntimeError", "no operations here"}; }};
  TestCase sgd_case_, adam_case_;
  Trial sgd_{sgd_case_, rank_.session()}, adam_{adam_case_, rank_.session()};
};

TEST_F(StateComparison, AnEmptyStateOfSgdIsAFailureThatNamesIt) {
  const Dict expected = ExpectedStateOf(sgd_, Trained("sgd"), Own({})).by_name;
  EXPECT_FALSE(sgd_.failed());
  Dict actual = expected;
  actual.Set("state", Dict{{"w", Dict()}, {"b", Dict()}});
  ExpectSameOptimizerState(sgd_, kChecks, expected, actual);
  ASSERT_EQ(sgd_.failures().size(), 1u);
  EXPECT_EQ(sgd_.failures()[0].check, "C1");
  EXPECT_EQ(sgd_.failures()[0].message,
            "parameters with state: expected 0, actual 2; state of w: expected none, actual {}");
}

TEST_F(StateComparison, AnEmptyStateInTheUnshardedOptimizerIsAFailureAndNotExpected) {
  const Dict expected = ExpectedStateOf(sgd_, Trained("sgd"), Own({{int64_t{1}, Dict()}})).by_name;
  EXPECT_TRUE(expected.At("state").AsDict().empty());
  ASSERT_EQ(sgd_.failures().size(), 1u);
  EXPECT_EQ(sgd_.failures()[0].message, "optimizer of the unsharded model: state of b: expected none, actual {}");
}

TEST_F(StateComparison, StateThatIsMissingIsNamed) {
  const Dict own = Own({{int64_t{0}, AdamEntry(3)}, {int64_t{1}, AdamEntry(3)}});
  const Dict expected = ExpectedStateOf(adam_, Trained("adam"), own).by_name;
  Dict actual = expected;
  actual.Set("state", Dict{{"b", AdamEntry(3)}});
  ExpectSameOptimizerState(adam_, kChecks, expected, actual);
  ASSERT_EQ(adam_.failures().size(), 2u);
  EXPECT_TRUE(adam_.failures()[0].message.starts_with(
      "parameters with state: expected 2, actual 1; state of w: expected {step: tensor float32 () cpu = 3, exp_avg: "))
      << adam_.failures()[0].message;
  EXPECT_EQ(adam_.failures()[1].check, "C2");
  EXPECT_EQ(adam_.failures()[1].message, "w: has no state");
}

TEST_F(StateComparison, OfTheUnshardedOptimizerOnlyTheMomentsAreTaken) {
  const Dict own = Own({{int64_t{1}, AdamEntry(3)}, {int64_t{0}, AdamEntry(3)}});
  const ExpectedState expected = ExpectedStateOf(adam_, Trained("adam"), own);
  EXPECT_FALSE(adam_.failed());
  EXPECT_EQ(StateOf(expected.by_name).Keys(), (std::vector<std::string>{"w", "b"}));
  EXPECT_EQ(StateOf(expected.by_id).Keys(), (std::vector<std::string>{"0", "1"}));
  const Dict& group = FirstGroupOf(expected.by_name);
  EXPECT_EQ(group.At("params").AsStrings(), (std::vector<std::string>{"w", "b"}));
  EXPECT_EQ(group.At("lr").AsDouble(), 0.5);
  EXPECT_EQ(group.size(), 12u);
}

TEST_F(StateComparison, AnUnshardedOptimizerThatIsWrongIsNoOracle) {
  const std::string who = "optimizer of the unsharded model: state of ";
  EXPECT_EQ(ErrorOf(adam_, Own({{int64_t{0}, AdamEntry(3)}})), who + "b: expected one, there is none");
  EXPECT_EQ(ErrorOf(adam_, Own({{int64_t{0}, AdamEntry(2)}, {int64_t{1}, AdamEntry(3)}})),
            who + "w.step: index (): expected 3, actual 2 (1 of 1 elements differ, largest difference 1)");
  Dict incomplete = AdamEntry(3);
  incomplete.Erase("exp_avg");
  EXPECT_EQ(ErrorOf(adam_, Own({{int64_t{0}, incomplete}})), who + "w: missing [\"exp_avg\"], unexpected []");
  Dict number = AdamEntry(3);
  number.Set("step", 3.0);
  EXPECT_EQ(ErrorOf(adam_, Own({{int64_t{0}, number}})), who + "w.step: expected a float32 tensor (), actual 3.0");
  Dict other_shape = AdamEntry(3);
  other_shape.Set("exp_avg", at::ones({3}));
  EXPECT_EQ(ErrorOf(adam_, Own({{int64_t{0}, other_shape}})),
            who + "w.exp_avg: expected a float32 tensor (2,), actual tensor float32 (3,) cpu");
  EXPECT_FALSE(adam_.failed());
  const Dict other_id = Own({{int64_t{0}, AdamEntry(3)}, {int64_t{1}, AdamEntry(3)}, {int64_t{7}, Dict()}});
  EXPECT_EQ(ErrorOf(adam_, other_id), "none");
  ASSERT_EQ(adam_.failures().size(), 1u);
  EXPECT_EQ(adam_.failures()[0].message, who + "id 7: expected none, actual {}");
}

TEST_F(StateComparison, NoGroupIsTheImplementationsFault) {
  EXPECT_THROW(FirstGroupOf(Own({})), ContractViolation);
}

}  // namespace
}  // namespace shardcts::state_dict
