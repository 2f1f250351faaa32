#include "rank/hosted_implementation.h"

#include <unistd.h>

#include <utility>

namespace shardcts {

HostedImplementation::HostedImplementation(MakeCommunicator make_communicator, MakeImplementation make_implementation)
    : make_communicator_(std::move(make_communicator)), make_implementation_(std::move(make_implementation)) {
  Renew();
}

Outcome HostedImplementation::Invoke(std::string_view operation, const Dict& arguments) {
  const pid_t rank = getpid();
  Outcome outcome = implementation_->Invoke(operation, arguments);
  if (getpid() != rank) _exit(0);  // a process that the operation has forked: the rank alone goes on
  return outcome;
}

void HostedImplementation::Renew() {
  implementation_.reset();
  communicator_ = make_communicator_();
  implementation_ = make_implementation_(communicator_.get());
}

}  // namespace shardcts
