// In place of the NCCL backend, where ShardCTS is built without NCCL's headers.
#include "comm/nccl_communicator.h"
#include "comm/nccl_loading.h"

namespace shardcts {
namespace {

constexpr char kAbsent[] = "ShardCTS was built without NCCL: nccl.h and the CUDA runtime's headers were not found";

}  // namespace

std::shared_ptr<const NcclLibrary> LoadNccl() { throw NcclNotUsable(kAbsent); }

std::string NcclVersion(const NcclLibrary&) { return ""; }

std::unique_ptr<Communicator> MakeNcclCommunicator(Rendezvous&, std::shared_ptr<const NcclLibrary>, int,
                                                   std::chrono::milliseconds) {
  throw NcclNotUsable(kAbsent);
}

}  // namespace shardcts
