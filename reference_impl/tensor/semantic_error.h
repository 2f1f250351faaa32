// SemanticError: an error that the semantics require. The operations layer converts it to an Outcome.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace shardcts::reference {

// `kind` is the Python exception class that PyTorch raises: "RuntimeError", "ValueError", "KeyError", ... In a
// collective call it must be thrown on all ranks, before any communication, so that no peer waits.
class SemanticError : public std::runtime_error {
 public:
  SemanticError(std::string kind, const std::string& message) : std::runtime_error(message), kind_(std::move(kind)) {}
  const std::string& kind() const { return kind_; }

 private:
  std::string kind_;
};

}  // namespace shardcts::reference
