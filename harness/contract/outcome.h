// Outcome: the result of an operation on one rank. An error is data: no exception crosses the boundary to an
// implementation.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "contract/value.h"

namespace shardcts {

struct Error {
  std::string kind;     // the Python exception class that the semantics name: "RuntimeError", "ValueError", ...
  std::string message;
  bool operator==(const Error&) const = default;
};

struct Warning {
  std::string category;  // "FutureWarning", ...
  std::string message;
  bool operator==(const Warning&) const = default;
};

class Outcome {
 public:
  Outcome(Value value) : result_(std::move(value)) {}
  Outcome(Error error) : result_(std::move(error)) {}

  bool ok() const { return std::holds_alternative<Value>(result_); }
  const Value& value() const { return std::get<Value>(result_); }
  Value& value() { return std::get<Value>(result_); }
  const Error& error() const { return std::get<Error>(result_); }

  std::vector<Warning> warnings;  // in the order they were given

 private:
  std::variant<Value, Error> result_;
};

}  // namespace shardcts
