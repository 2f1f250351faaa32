#include "contract/argument_check.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

const Handle kModel{"model", 1};

// What is wrong with the arguments; empty: nothing.
std::string Wrong(std::string_view operation, const Dict& arguments, Unknowns unknowns = Unknowns::kAreWrong) {
  const auto wrong = CheckArguments(*FindOperation(operation), arguments, unknowns);
  return wrong ? wrong->message : "";
}

std::string WrongOptions(std::string_view wrapper, const Dict& options) {
  return Wrong("model.wrap", {{"model", kModel}, {"path", ""}, {"wrapper", wrapper}, {"options", options}});
}

std::string WrongGroups(const List& groups) {
  return Wrong("optimizer.create", {{"model", kModel}, {"kind", "sgd"}, {"groups", groups}});
}

TEST(ArgumentCheck, TypesNamesAndPresence) {
  EXPECT_EQ(Wrong("model.forward", {{"model", kModel}, {"inputs", List{at::ones({1})}}}), "");
  EXPECT_EQ(Wrong("model.forward", {{"model", kModel}}), "model.forward: argument \"inputs\" is missing");
  EXPECT_EQ(Wrong("model.forward", {{"model", Handle{"mesh", 1}}}),
            "model.forward: argument \"model\": expected handle model, got mesh 1");
  EXPECT_EQ(Wrong("model.forward", {{"modle", kModel}}),
            "model.forward: unknown argument \"modle\"; the nearest known one is \"model\"");
  EXPECT_EQ(Wrong("model.forward", {{"model", kModel}, {"inputs", List{at::ones({1}), 3}}}),
            "model.forward: argument \"inputs[1]\": expected tensor, got 3");
  EXPECT_EQ(Wrong("implementation.seed", {{"seed", 2.0}}),
            "implementation.seed: argument \"seed\": expected int, got double 2.0");
}

TEST(ArgumentCheck, ARecordsFields) {
  EXPECT_EQ(WrongOptions("fsdp", {}), "");
  EXPECT_EQ(WrongOptions("fsdp", {{"cpu_offload", true}, {"device_mesh", Handle{"mesh", 2}}}), "");
  EXPECT_EQ(WrongOptions("fsdp", {{"use_orig_param", true}}),
            "model.wrap: unknown argument \"options.use_orig_param\"; the nearest known one is "
            "\"options.use_orig_params\"");
  EXPECT_EQ(WrongOptions("fsdp", {{"cpu_offload", 1}}),
            "model.wrap: argument \"options.cpu_offload\": expected bool, got 1");
  EXPECT_EQ(WrongOptions("fsdp", {{"cpu_offload", nullptr}}),
            "model.wrap: argument \"options.cpu_offload\": expected bool, got none");
  EXPECT_EQ(WrongOptions("fsdp", {{3, true}}),
            "model.wrap: unknown argument \"options.3\"; the nearest known one is \"options.device_id\"");
  EXPECT_EQ(Wrong("model.wrap", {{"model", kModel}, {"path", ""}, {"wrapper", "fsdp"}, {"options", 3}}),
            "model.wrap: argument \"options\": expected dict, got 3");
}

TEST(ArgumentCheck, AnotherArgumentChoosesTheRecord) {
  EXPECT_EQ(WrongOptions("checkpoint", {{"innermost", true}}), "");
  EXPECT_EQ(WrongOptions("checkpoint", {{"cpu_offload", true}}),
            "model.wrap: unknown argument \"options.cpu_offload\"; the nearest known one is \"options.innermost\"");
  EXPECT_EQ(WrongOptions("compile", {{"mode", "fast"}}), "model.wrap: unknown argument \"options.mode\"; there are none");
  EXPECT_EQ(WrongOptions("fspd", {{"cpu_offload", true}}),
            "model.wrap: argument \"wrapper\": unknown value \"fspd\"; the nearest known one is \"fsdp\"");
}

TEST(ArgumentCheck, RecordsInRecords) {
  const auto policy = [](const Dict& fields) { return WrongOptions("fsdp", {{"auto_wrap_policy", fields}}); };
  EXPECT_EQ(policy({{"kind", "size_based"}, {"min_num_params", 0}}), "");
  EXPECT_EQ(policy({{"kind", "size_based"}}),
            "model.wrap: argument \"options.auto_wrap_policy.min_num_params\" is missing");
  EXPECT_EQ(policy({{"kind", "size_based"}, {"min_num_params", -1}}),
            "model.wrap: argument \"options.auto_wrap_policy.min_num_params\": expected at least 0, got -1");
  EXPECT_EQ(policy({{"kind", "size"}}),
            "model.wrap: argument \"options.auto_wrap_policy.kind\": unknown value \"size\"; the nearest known one is "
            "\"always\"");
  EXPECT_EQ(policy({{"kind", 3}}), "model.wrap: argument \"options.auto_wrap_policy.kind\": expected string, got 3");
  EXPECT_EQ(policy({}), "model.wrap: argument \"options.auto_wrap_policy.kind\" is missing");
  EXPECT_EQ(WrongOptions("fsdp", {{"mixed_precision", Dict{{"param_dtype", "float23"}}}}),
            "model.wrap: argument \"options.mixed_precision.param_dtype\": unknown value \"float23\"; the nearest known "
            "one is \"float16\"");
}

TEST(ArgumentCheck, RecordsInListsAndDicts) {
  EXPECT_EQ(WrongGroups({Dict{{"parameters", List{"w"}}, {"options", Dict{{"lr", 1}}}}}), "");
  EXPECT_EQ(WrongGroups({Dict{{"parameters", List{"w"}}}, Dict{{"parameters", List{"b"}}, {"options", Dict{{"l", 1}}}}}),
            "optimizer.create: unknown argument \"groups[1].options.l\"; the nearest known one is "
            "\"groups[1].options.lr\"");
  EXPECT_EQ(WrongGroups({Dict{}}), "optimizer.create: argument \"groups[0].parameters\" is missing");
  const Dict plan{{"net1", Dict{{"style", "colwise"}}}, {"net2", Dict{{"style", "row"}}}};
  EXPECT_EQ(Wrong("model.parallelize", {{"model", kModel}, {"mesh", Handle{"mesh", 1}}, {"plan", plan}}),
            "model.parallelize: argument \"plan.net2.style\": unknown value \"row\"; the nearest known one is \"rowwise\"");
}

TEST(ArgumentCheck, AChoiceOfTypes) {
  const auto input = [](const Value& value) {
    return Wrong("fsdp.full_optim_state_dict",
                 {{"model", kModel}, {"optimizer", Handle{"optimizer", 1}}, {"optim_input", value}});
  };
  EXPECT_EQ(input(List{"w"}), "");
  EXPECT_EQ(input(List{Dict{{"parameters", List{"w"}}}}), "");
  EXPECT_EQ(input(List{Dict{{"params", List{"w"}}}}).substr(0, 118),
            "fsdp.full_optim_state_dict: argument \"optim_input\": expected list of string or list of record "
            "optim_input_group, got [");
}

TEST(ArgumentCheck, NamesTheOperationsArgument) {
  const Dict arguments{{"model", kModel}, {"kind", "sgd"}, {"groups", List{Dict{}}}};
  EXPECT_EQ(CheckArguments(*FindOperation("optimizer.create"), arguments)->name, "groups");
}

TEST(ArgumentCheck, WhatIsNotYetKnownHasAnyTypeWhereThatIsAsked) {
  const Dict options{{"device_mesh", NotYetKnown()}, {"sharding_strategy", NotYetKnown()}};
  const Dict arguments{{"model", NotYetKnown()}, {"path", ""}, {"wrapper", "fsdp"}, {"options", options}};
  EXPECT_EQ(Wrong("model.wrap", arguments, Unknowns::kHaveAnyType), "");
  EXPECT_NE(Wrong("model.wrap", arguments), "");
  const Dict by_unknown{{"model", NotYetKnown()}, {"path", ""}, {"wrapper", NotYetKnown()}, {"options", Dict{{"x", 1}}}};
  EXPECT_EQ(Wrong("model.wrap", by_unknown, Unknowns::kHaveAnyType), "");
}

TEST(ArgumentCheck, ResultTypes) {
  const OperationSpec clone{.result_type = "tensor or dtensor or dict"};
  EXPECT_TRUE(ResultHasType(clone, Dict()));
  EXPECT_TRUE(ResultHasType(clone, at::ones({1})));
  EXPECT_FALSE(ResultHasType(clone, List()));
  EXPECT_FALSE(ResultHasType(clone, NotYetKnown()));
  const OperationSpec names{.result_type = "list of string"};
  EXPECT_TRUE(ResultHasType(names, List{"a"}));
  EXPECT_FALSE(ResultHasType(names, List{"a", 1}));
}

}  // namespace
}  // namespace shardcts
