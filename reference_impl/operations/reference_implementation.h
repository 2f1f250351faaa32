// ReferenceImplementation: the contract's operations on the reference library.
#pragma once

#include <string>
#include <vector>

#include "contract/implementation.h"
#include "operations/handlers.h"

namespace shardcts::reference {

class ReferenceImplementation : public Implementation {
 public:
  // `context.communicator` must not be null: the reference has no collectives of its own. std::invalid_argument: it is
  // null, or the device type is unknown.
  explicit ReferenceImplementation(const ImplementationContext& context);

  // NotImplementedError: no such operation. TypeError: arguments that do not match the operation. NotSupported: an
  // option whose capability is not declared.
  Outcome Invoke(std::string_view operation, const Dict& arguments) override;

 private:
  Session session_;
  HandlerTable handlers_;
  std::vector<std::string> declared_;
};

}  // namespace shardcts::reference
