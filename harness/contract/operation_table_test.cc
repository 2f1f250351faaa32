#include "contract/operation_table.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace shardcts {
namespace {

TEST(OperationTable, NamesAreUniqueAndCapabilitiesKnown) {
  std::set<std::string> names;
  const std::vector<std::string> capabilities = Capabilities();
  for (const OperationSpec& operation : Operations()) {
    EXPECT_TRUE(names.insert(operation.name).second) << operation.name;
    EXPECT_NE(std::ranges::find(capabilities, operation.capability), capabilities.end()) << operation.name;
  }
  EXPECT_GT(names.size(), 25u);
}

// What is wrong with the arguments; empty: nothing.
std::string Wrong(const OperationSpec& operation, const Dict& arguments) {
  const auto wrong = CheckArguments(operation, arguments);
  return wrong ? wrong->message : "";
}

TEST(OperationTable, ChecksArguments) {
  const OperationSpec* forward = FindOperation("model.forward");
  ASSERT_TRUE(forward);
  const Handle model{"model", 1};
  EXPECT_EQ(Wrong(*forward, Dict{{"model", model}, {"inputs", List{at::ones({1})}}}), "");
  EXPECT_EQ(Wrong(*forward, Dict{{"model", model}}), "model.forward: argument \"inputs\" is missing");
  EXPECT_EQ(Wrong(*forward, Dict{{"model", Handle{"mesh", 1}}}),
            "model.forward: argument \"model\": expected handle model, got mesh 1");
  EXPECT_EQ(Wrong(*forward, Dict{{"modle", model}}), "model.forward: unknown argument \"modle\"");
  EXPECT_EQ(Wrong(*forward, Dict{{"model", model}, {"inputs", List{3}}}),
            "model.forward: argument \"inputs\": expected list of tensor, got [3]");
}

TEST(OperationTable, UnknownOperation) { EXPECT_EQ(FindOperation("model.explode"), nullptr); }

}  // namespace
}  // namespace shardcts
