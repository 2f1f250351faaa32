// The NCCL backend passes the conformance tests on GPUs, one for each rank. Without NCCL, or with too few GPUs, all
// tests are skipped, and the line "skipped: REASON" says so to ctest. SHARDCTS_NCCL_GPU_TEST=emulator runs the program
// without a GPU: that shows that the program works, and nothing about GPUs.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>

#include "comm/conformance/ranks.h"
#include "comm/group_calls.h"
#include "comm/nccl_communicator.h"
#include "comm/nccl_library.h"
#include "comm/staged_communicator.h"
#include "comm/testing/communicator_rendezvous.h"
#include "comm/testing/rank_tests.h"

namespace shardcts {
namespace {

std::shared_ptr<const NcclLibrary> Load() {
  const char* instead = std::getenv("SHARDCTS_NCCL_GPU_TEST");
  return instead && std::string(instead) == "emulator" ? LoadNcclEmulator(SHARDCTS_NCCL_EMULATOR) : LoadNccl();
}

// One communicator for all tests: on GPUs making one takes a second.
class NcclWorld : public testing::Environment {
 public:
  void SetUp() override {
    const int local_rank = LocalRank(World());
    try {
      library_ = Load();
      device_ =
          library_->emulator ? at::Device(at::kCPU) : at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(local_rank));
      CommunicatorRendezvous rendezvous(World());
      world_ = MakeStagedCommunicator(MakeNcclCommunicator(rendezvous, library_, local_rank), at::kCPU);
    } catch (const NcclNotUsable& error) {
      std::cerr << "skipped: " << error.what() << std::endl;
      GTEST_SKIP() << error.what();
    }
    if (World().rank() == 0) std::cerr << "NCCL " << library_->version << " on " << device_ << std::endl;
  }
  void TearDown() override { world_.reset(); }

  Communicator& world() { return *world_; }
  bool emulator() const { return library_->emulator; }

 private:
  std::shared_ptr<const NcclLibrary> library_;
  at::Device device_ = at::kCPU;
  std::unique_ptr<Communicator> world_;
};

auto* const nccl_world =
    static_cast<NcclWorld*>(testing::AddGlobalTestEnvironment(new NcclWorld));  // GoogleTest deletes it

}  // namespace

void RunOnRanks(const std::function<void(Communicator& world)>& body) { body(nccl_world->world()); }

std::string BackendUnderTest() { return nccl_world->emulator() ? "staged over nccl (emulator)" : "staged over nccl"; }

}  // namespace shardcts
