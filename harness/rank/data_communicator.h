// Which communicator an implementation is given: the option comm of `--impl`.
//
//   local   CPU tensors, ranks of one host; the default for libraries on the CPU
//   mpi     CPU tensors; the default for libraries on the CPU under a launcher of the user's own
//   nccl    CUDA tensors, one GPU per rank; the default for libraries on device=cuda where each rank has a GPU of its own
//   staged  tensors of any other device than the CPU, over local or mpi; ranks may share a device. The default for
//           libraries on all other devices, and on device=cuda where there are fewer GPUs than ranks
//   none    none: the library communicates by itself
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
  // Local. Loads what it takes, also what brings the device type of a library (rank/local_device.h). InputError, one
  // line that names the option: an unknown value, one that does not fit the device, a library or device that is not
  // there.
  explicit DataCommunicator(const Plan& plan);

  // Local. Whether the ranks of this plan need MPI.
  static bool NeedsMpi(const Plan& plan);

  // *Collective* over the pool. nullptr: none. Where MPI is needed, an MpiSession must exist. InputError when a rank has
  // no device that it must have, or the ranks of a local communicator are not on one host.
  std::unique_ptr<Communicator> Make(Rendezvous& rendezvous, int local_rank) const;

  // Local. Of NCCL, "2.32.3"; empty when it is not loaded.
  std::string nccl_version() const;

 private:
  std::unique_ptr<Communicator> MakeStaged(Rendezvous& rendezvous, int local_rank) const;
  std::unique_ptr<Communicator> MakeNcclOrStaged(Rendezvous& rendezvous, int local_rank) const;

  std::string choice_;  // empty: none; "nccl or staged": whatever the number of GPUs allows
  std::string device_;
  bool over_mpi_;
  std::shared_ptr<const NcclLibrary> nccl_;
};

}  // namespace shardcts
