// HostedImplementation: the implementation of a pool on one rank, with the communicator that it was given, if any.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "comm/communicator.h"
#include "contract/implementation.h"

namespace shardcts {

class HostedImplementation final : public Implementation {
 public:
  using MakeCommunicator = std::function<std::unique_ptr<Communicator>()>;
  using MakeImplementation = std::function<std::unique_ptr<Implementation>(Communicator* communicator)>;

  // *Collective* over the pool, like both functions.
  HostedImplementation(MakeCommunicator make_communicator, MakeImplementation make_implementation);

  Outcome Invoke(std::string_view operation, const Dict& arguments) override;

  // Local. False once a call of the communicator, or of a group split from it, has failed: then it cannot be used
  // any more, and neither can what the implementation has built on it.
  bool usable() const { return communicator_ == nullptr || communicator_->usable(); }

  // Local. Of the communicator; empty without one.
  std::string backend() const { return communicator_ == nullptr ? "" : communicator_->backend(); }
  // Local. It was given no communicator: whether its collectives are still in step with its peers', nobody can ask.
  bool communicates_by_itself() const { return communicator_ == nullptr; }

  // *Collective* over the pool, between two tests. Creates communicator and implementation again.
  void Renew();

 private:
  MakeCommunicator make_communicator_;
  MakeImplementation make_implementation_;
  std::unique_ptr<Communicator> communicator_;  // nullptr: none
  std::unique_ptr<Implementation> implementation_;  // uses the communicator
};

}  // namespace shardcts
