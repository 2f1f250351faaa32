// An answer that an option is not supported: an error of kind "NotSupported". Its message begins with the option's path
// among the arguments of the call, "wrapper" or "options.cpu_offload", and may go on with ": " and a reason. *Local*.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/operation_table.h"
#include "contract/value.h"

namespace shardcts {

inline constexpr std::string_view kNotSupported = "NotSupported";

struct UnsupportedOption {
  std::string path;
  std::string capability;  // whoever declares it supports the option's value; empty: none does
};

// nullopt: the message names no option of the operation. Options are arguments, and fields of records among them, that
// a call may leave out or that have a choice of values.
std::optional<UnsupportedOption> FindUnsupportedOption(const OperationSpec& operation, const Dict& arguments,
                                                       std::string_view message);

// The first option of a call, or field of a record in it, whose value needs a capability that is not among those
// `declared`. Whoever answers such a call as if the option were not there gives a result that was not asked for.
std::optional<UnsupportedOption> FindUndeclaredOption(const OperationSpec& operation, const Dict& arguments,
                                                      const std::vector<std::string>& declared);

}  // namespace shardcts
