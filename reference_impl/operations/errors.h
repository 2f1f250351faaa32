// The only function that converts exceptions to the contract's errors.
#pragma once

#include "contract/outcome.h"

namespace shardcts::reference {

// Converts the exception that is being handled. Call it in a catch block only.
//   SemanticError                              its own kind
//   models::ModelArgumentError                 ValueError
//   ContractViolation                          TypeError
//   c10's Index-, Value-, Type- and NotImplementedError   the class of the same name
//   c10::Error, CommunicationError             RuntimeError, DistBackendError
//   anything else                              RuntimeError
Error ErrorOfCurrentException();

}  // namespace shardcts::reference
