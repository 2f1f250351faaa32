#include "contract/unsupported_option.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

std::optional<UnsupportedOption> Find(std::string_view operation, const Dict& arguments, std::string_view message) {
  return FindUnsupportedOption(*FindOperation(operation), arguments, message);
}

TEST(UnsupportedOptionTest, ArgumentsAndFieldsOfRecordsAreNamedByTheirPath) {
  const Dict call{{"model", Value(Handle{"model", 0})}, {"options", Value(Dict{{"cpu_offload", Value(true)}})}};
  const auto field = Find("dsd.get_model_state_dict", call, "options.cpu_offload: there is no CPU memory");
  ASSERT_TRUE(field);
  EXPECT_EQ(field->path, "options.cpu_offload");
  EXPECT_EQ(field->capability, "dsd.offload");
  EXPECT_TRUE(Find("dsd.get_model_state_dict", call, "options"));
  EXPECT_TRUE(Find("dsd.get_model_state_dict", {}, "options.full_state_dict")) << "the default may be what is not supported";
}

TEST(UnsupportedOptionTest, FieldsOfTheRecordsOfAllCases) {
  EXPECT_TRUE(Find("model.wrap", {{"wrapper", Value("fsdp")}}, "options.use_orig_params"));
  EXPECT_TRUE(Find("model.wrap", {{"wrapper", Value("fully_shard")}}, "options.reshard_after_forward"));
}

TEST(UnsupportedOptionTest, WhatNamesNoOption) {
  for (const char* message : {"", "no", "model", "path", "options.", "options.no", "options.cpu_offload.deeper", ".options",
                              "optional: too", "options cpu_offload"}) {
    EXPECT_FALSE(Find("model.wrap", {}, message)) << message;
  }
}

TEST(UnsupportedOptionTest, ValuesThatACapabilityDeclares) {
  EXPECT_EQ(Find("model.wrap", {{"wrapper", Value("fsdp")}}, "wrapper")->capability, "fsdp1");
  EXPECT_EQ(Find("model.wrap", {{"wrapper", Value("replicate")}}, "wrapper: never")->capability, "ddp");
  EXPECT_EQ(Find("model.wrap", {}, "wrapper")->capability, "");
  EXPECT_EQ(Find("optimizer.create", {{"named", Value(true)}}, "named")->capability, "named_optimizer");
  EXPECT_EQ(Find("optimizer.create", {{"named", Value(false)}}, "named")->capability, "");
  EXPECT_EQ(Find("mesh.init", {{"ranks", Value(List{Value(1)})}}, "ranks")->capability, "process_groups");
}

std::string UndeclaredIn(std::string_view operation, const Dict& arguments, const std::vector<std::string>& declared) {
  const auto found = FindUndeclaredOption(*FindOperation(operation), arguments, declared);
  return found ? found->path + " needs " + found->capability : "";
}

TEST(UnsupportedOptionTest, AnOptionWhoseCapabilityIsNotDeclaredIsFoundByItsValue) {
  EXPECT_EQ(UndeclaredIn("storage.save_async", {{"process", true}}, {"storage"}), "process needs storage_process");
  EXPECT_EQ(UndeclaredIn("storage.save_async", {{"process", true}}, {"storage_process"}), "");
  EXPECT_EQ(UndeclaredIn("storage.save_async", {{"process", false}}, {"storage"}), "");
  EXPECT_EQ(UndeclaredIn("storage.save_async", {{"path", "rot13"}}, {"storage"}), "") << "the value of another option";
  const Dict offloads{{"options", Value(Dict{{"cpu_offload", Value(true)}})}};
  EXPECT_EQ(UndeclaredIn("dsd.get_model_state_dict", offloads, {"dsd", "-dsd.offload"}), "options.cpu_offload needs dsd.offload");
  EXPECT_EQ(UndeclaredIn("dsd.get_model_state_dict", offloads, {"dsd"}), "") << "a part of what is declared";
}

}  // namespace
}  // namespace shardcts
