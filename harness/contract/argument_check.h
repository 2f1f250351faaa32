// Whether arguments and results are what the table of operations says. All functions are *Local*.
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

// What stands in arguments that are checked before they are known, where a script refers to an earlier result.
Value NotYetKnown();

enum class Unknowns { kAreWrong, kHaveAnyType };

// The first thing that is wrong with the arguments: an unknown, missing or mistyped one, or a value that is not allowed.
// In records and lists the message names the place: "options.offload_policy.kind", "groups[1].options.lr".
// `unknowns`: what NotYetKnown() is taken for.
std::optional<WrongArgument> CheckArguments(const OperationSpec& operation, const Dict& arguments,
                                            Unknowns unknowns = Unknowns::kAreWrong);

// Whether a result is of the operation's result type.
bool ResultHasType(const OperationSpec& operation, const Value& result);

}  // namespace shardcts
