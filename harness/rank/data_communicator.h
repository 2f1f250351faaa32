// Which communicator an implementation is given: the option comm of `--impl`.
//
//   mpi            CPU tensors; the default on the CPU, and for Python classes, which bring communication of their own
//   nccl           CUDA tensors, one GPU per rank; the default for libraries on device=cuda
//   nccl-emulator  CPU tensors through the NCCL backend, without a GPU: to test the path, not to measure anything
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "rank/plan.h"

namespace shardcts {

struct NcclLibrary;

class DataCommunicator {
 public:
  // Local. Loads what it takes. InputError, one line that names the option: an unknown value, one that does not fit
  // the device, a library or GPU that is not there.
  explicit DataCommunicator(const Plan& plan);

  // *Collective* over `world`. InputError when a rank has no GPU of its own.
  std::unique_ptr<Communicator> Make(Communicator& world, int local_rank) const;

  // Local. Of NCCL, "2.32.3 (emulator)"; empty when it is not used.
  std::string nccl_version() const;

 private:
  std::shared_ptr<const NcclLibrary> nccl_;
};

}  // namespace shardcts
