#include "rank/hosted_implementation.h"

#include <utility>

namespace shardcts {

HostedImplementation::HostedImplementation(MakeCommunicator make_communicator, MakeImplementation make_implementation)
    : make_communicator_(std::move(make_communicator)), make_implementation_(std::move(make_implementation)) {
  Renew();
}

Outcome HostedImplementation::Invoke(std::string_view operation, const Dict& arguments) {
  return implementation_->Invoke(operation, arguments);
}

void HostedImplementation::Renew() {
  implementation_.reset();
  communicator_ = make_communicator_();
  implementation_ = make_implementation_(communicator_.get());
}

}  // namespace shardcts
