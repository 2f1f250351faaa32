// Checks arguments and results against the table of operations. All functions are *Local*.
#pragma once

#include <optional>
#include <string>

#include "contract/operation_table.h"
#include "contract/value.h"

namespace shardcts {

struct WrongArgument {
  std::string name;     // of the operation's argument
  std::string message;  // "model.wrap: argument \"options.mesh\": expected handle mesh, got 3"
};

// A placeholder in arguments that are checked before their values are known: a script's reference to an earlier result.
Value NotYetKnown();

enum class Unknowns { kAreWrong, kHaveAnyType };

// The first error in the arguments: an unknown, missing or mistyped one, or a value that is not allowed. In records and
// lists the message gives the path: "options.offload_policy.kind", "groups[1].options.lr".
// `unknowns`: how NotYetKnown() is treated.
std::optional<WrongArgument> CheckArguments(const OperationSpec& operation, const Dict& arguments,
                                            Unknowns unknowns = Unknowns::kAreWrong);

// Whether a result is of the operation's result type.
bool ResultHasType(const OperationSpec& operation, const Value& result);

}  // namespace shardcts
