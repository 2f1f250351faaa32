// The vocabulary of the tests that talk to the reference through its contract door, on ranks.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "comm/testing/rank_tests.h"
#include "operations/reference_implementation.h"

namespace shardcts::reference {

class ReferenceTest : public testing::Test {
 protected:
  // `options` as those of --impl.
  explicit ReferenceTest(const std::map<std::string, std::string>& options = {}) : implementation_(Context(options)) {}

  static ImplementationContext Context(const std::map<std::string, std::string>& options = {}) {
    ImplementationContext context;
    context.rank = World().rank();
    context.world_size = World().size();
    context.options = options;
    context.communicator = &World();
    return context;
  }

  Value Run(std::string_view operation, const Dict& arguments = {}) {
    const Outcome outcome = implementation_.Invoke(operation, arguments);
    EXPECT_TRUE(outcome.ok()) << operation << ": " << (outcome.ok() ? "" : outcome.error().message);
    warnings_ = outcome.warnings;
    return outcome.ok() ? outcome.value() : Value();
  }
  std::string ErrorOf(std::string_view operation, const Dict& arguments = {}) {
    const Outcome outcome = implementation_.Invoke(operation, arguments);
    return outcome.ok() ? "no error" : outcome.error().kind + ": " + outcome.error().message;
  }
  Value Build(const std::string& model, const Dict& args, const std::string& device = "cpu") {
    Run("implementation.seed", {{"seed", 7}});
    return Run("model.build", {{"model", model}, {"args", args}, {"device", device}});
  }
  void FullyShard(const Value& model, const std::string& path, const Dict& options = {}) {
    Run("model.wrap", {{"model", model}, {"path", path}, {"wrapper", "fully_shard"}, {"options", options}});
  }
  Dict StateDictOf(const Value& model) { return Run("model.state_dict", {{"model", model}}).AsDict(); }
  Value Clone(const Value& value) { return Run("tensor.clone", {{"value", value}}); }

  ReferenceImplementation implementation_;
  std::vector<Warning> warnings_;
};

}  // namespace shardcts::reference
