#include "suites/fsdp_optim_state/comparisons.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "inventory/inventory.h"
#include "rank/testing/lone_rank.h"

namespace shardcts::fsdp_optim_state {
namespace {

Dict Entry(Value step) { return {{"step", std::move(step)}, {"exp_avg", at::ones({2})}}; }

class UnpairedState : public testing::Test {
 protected:
  UnpairedState() {
    for (const char* id : {"C1", "C2", "C3", "C4"}) case_.checks.push_back({.id = id});
  }

  // The first failure when `saved` is compared with a reference model that has stepped w three times.
  std::string FailureOf(const Dict& saved) {
    Trial t(case_, rank_.session());
    ExpectStatesInAnyOrder(t, {.other = "C1", .own = "C2", .count = "C3", .states = "C4"}, {{"state", saved}},
                           {{"state", Dict{{int64_t{0}, Entry(at::full({}, 3.0))}}}},
                           {{"w", Entry(at::full({}, 3.0))}});
    if (!t.failed()) return "none";
    return t.failures().front().check + ": " + t.failures().front().message;
  }

  LoneRank rank_{[](std::string_view, const Dict&) -> Outcome { return Error{"RuntimeError", "no operations here"}; }};
  TestCase case_;
};

TEST_F(UnpairedState, TheMessageNamesEntryAndType) {
  EXPECT_EQ(FailureOf({{"w", Entry(at::full({}, 3.0))}}), "none");
  const std::string none = "C4: w: no parameter of the unsharded model has such state; ";
  EXPECT_EQ(FailureOf({{"w", Entry(3.0)}}),
            none + "compared with the parameter of the same name: step: expected tensor float32 () cpu = 3, actual 3.0");
  EXPECT_EQ(FailureOf({{"w", Entry(at::full({}, 3.0, at::kDouble))}}),
            none + "compared with the parameter of the same name: step: dtype: expected float32, actual float64");
  EXPECT_EQ(FailureOf({{"w", Dict{{"exp_avg", at::ones({2})}}}}),
            none + "compared with the parameter of the same name: step: expected key is missing");
  EXPECT_EQ(FailureOf({{"v", Entry(3.0)}}),
            "C4: v: no parameter of the unsharded model has such state; its parameter of this name has none, actual "
            "{step: 3.0, exp_avg: tensor float32 (2,) cpu}");
}

}  // namespace
}  // namespace shardcts::fsdp_optim_state
