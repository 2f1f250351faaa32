// The ranks of a communicator find each other for another one.
#pragma once

#include "comm/communicator.h"
#include "comm/rendezvous.h"

namespace shardcts {

class CommunicatorRendezvous final : public Rendezvous {
 public:
  explicit CommunicatorRendezvous(Communicator& communicator) : communicator_(communicator) {}
  int rank() const override { return communicator_.rank(); }
  int size() const override { return communicator_.size(); }
  std::vector<std::string> AllGather(const std::string& bytes) override { return communicator_.AllGatherBytes(bytes); }

 private:
  Communicator& communicator_;
};

}  // namespace shardcts
