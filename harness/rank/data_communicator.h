// Which communicator an implementation is given: the option comm of `--impl`.
//
//   local  CPU tensors, ranks of one host; the default for libraries on the CPU
//   mpi    CPU tensors; the default for libraries on the CPU under a launcher of the user's own
//   nccl   CUDA tensors, one GPU per rank; the default for libraries on device=cuda
//   none   none: the library communicates by itself. Libraries on other devices have no default
//
// Python classes bring communication of their own: they get none unless the option asks for one.
#pragma once

#include <memory>
#include <string>

#include "comm/communicator.h"
#include "comm/rendezvous.h"
#include "run_files/plan.h"

namespace shardcts {

struct NcclLibrary;

class DataCommunicator {
 public:
  // Local. Loads what it takes. InputError, one line that names the option: an unknown value, one that does not fit
  // the device, a library or GPU that is not there.
  explicit DataCommunicator(const Plan& plan);

  // Local. Whether the ranks of this plan need MPI.
  static bool NeedsMpi(const Plan& plan);

  // *Collective* over the pool. nullptr: none. Where MPI is needed, an MpiSession must exist. InputError when a rank has
  // no GPU of its own, or the ranks of a local communicator are not on one host.
  std::unique_ptr<Communicator> Make(Rendezvous& rendezvous, int local_rank) const;

  // Local. Of NCCL, "2.32.3"; empty when it is not used.
  std::string nccl_version() const;

 private:
  std::string choice_;  // empty: none
  std::shared_ptr<const NcclLibrary> nccl_;
};

}  // namespace shardcts
