// Starts and finalizes MPI in a process.
#pragma once

namespace shardcts {

// One object in main, around everything that communicates.
class MpiSession {
 public:
  // CommunicationError when MPI does not start.
  MpiSession(int* argc, char*** argv);
  // *Collective*. Finalizes MPI when all ranks arrive within 10 seconds (after a failed call within 2); MPI's own end
  // has 5 seconds. Otherwise MPI is not finalized, and Hydra reports a process that ends like this as crashed.
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }

 private:
  int rank_ = 0;
  int world_size_ = 1;
};

}  // namespace shardcts
