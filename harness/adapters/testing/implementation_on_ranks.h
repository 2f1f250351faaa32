// An implementation as a test program's ranks call it.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
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
    context.run_folder = MakeSharedFolder();
    context.options = {{"timeout_s", "60"}};
    context.communicator = &World();
    implementation_ = LoadImplementation(name, context);
  }

  ~ImplementationOnRanks() {
    implementation_.reset();
    if (World().rank() == 0) std::filesystem::remove_all(folder_);
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
  // *Collective*. New, so that nothing of another run is in it.
  std::string MakeSharedFolder() {
    std::string name = ::testing::TempDir() + "/shardcts-ranks-XXXXXX";
    if (World().rank() == 0 && !mkdtemp(name.data())) throw std::runtime_error("cannot make the folder " + name);
    return folder_ = World().AllGatherBytes(name).front();
  }

  std::string folder_;
  std::unique_ptr<LoadedImplementation> implementation_;
};

}  // namespace shardcts
