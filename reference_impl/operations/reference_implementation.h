// ReferenceImplementation: the contract's operations on the reference library.
#pragma once

#include "contract/implementation.h"
#include "operations/handlers.h"

namespace shardcts::reference {

class ReferenceImplementation : public Implementation {
 public:
  // `context.communicator` must be there: the reference has no collectives of its own.
  // std::invalid_argument: it is not, or the device type is not one that the reference knows.
  explicit ReferenceImplementation(const ImplementationContext& context);

  // NotImplementedError: no such operation here. TypeError: arguments that are not the operation's.
  Outcome Invoke(std::string_view operation, const Dict& arguments) override;

 private:
  Session session_;
  HandlerTable handlers_;
};

}  // namespace shardcts::reference
