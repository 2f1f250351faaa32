// The table of operations (operations.json) as C++ data. All functions are *Local*.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/value.h"

namespace shardcts {

struct ArgumentSpec {
  std::string name;
  std::string type;       // "list of int", "handle model", "tensor or dtensor", ...
  bool required = false;
};

struct OperationSpec {
  std::string name;       // "model.state_dict"
  std::string group;
  std::string capability;
  bool collective = false;
  std::vector<ArgumentSpec> arguments;
  std::string result_type;
};

const std::vector<OperationSpec>& Operations();
const OperationSpec* FindOperation(std::string_view name);  // nullptr: no such operation
std::vector<std::string> Capabilities();

struct WrongArgument {
  std::string name;
  std::string message;  // "model.forward: argument \"inputs\" is missing"
};
// nullopt when the arguments are those of the operation; else what is wrong: unknown, missing or mistyped argument.
std::optional<WrongArgument> CheckArguments(const OperationSpec& operation, const Dict& arguments);

// Whether a result is of the operation's result type.
bool ResultHasType(const OperationSpec& operation, const Value& result);

// The text of operations.json.
std::string_view OperationsJson();

}  // namespace shardcts
