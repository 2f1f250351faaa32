// An implementation as a test program's ranks call it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "adapters/loader.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {

class ImplementationOnRanks {
 public:
  // *Collective* over World().
  explicit ImplementationOnRanks(const std::string& name) {
    ImplementationContext context;
    context.rank = World().rank();
    context.world_size = World().size();
    context.local_rank = World().rank();
    context.run_folder = ::testing::TempDir();
    context.options = {{"timeout_s", "60"}};
    context.communicator = &World();
    implementation_ = LoadImplementation(name, context);
  }

  // Both are *Collective* or *Local* as the operation.
  Outcome Invoke(std::string_view operation, const Dict& arguments) {
    return implementation_->Invoke(operation, arguments);
  }
  // An error of the operation fails the test, and nothing is returned.
  Value Call(std::string_view operation, const Dict& arguments) {
    const Outcome outcome = Invoke(operation, arguments);
    EXPECT_TRUE(outcome.ok()) << operation << ": " << outcome.error().message;
    return outcome.ok() ? outcome.value() : Value();
  }

 private:
  std::unique_ptr<LoadedImplementation> implementation_;
};

}  // namespace shardcts
