// How the ranks of a new communicator find each other before it exists.
#pragma once

#include <string>
#include <vector>

namespace shardcts {

class Rendezvous {
 public:
  virtual ~Rendezvous() = default;
  virtual int rank() const = 0;  // Local.
  virtual int size() const = 0;  // Local.
  // *Collective*. What every rank gives, by rank. Throws CommunicationError when a peer is gone.
  virtual std::vector<std::string> AllGather(const std::string& bytes) = 0;
};

}  // namespace shardcts
