// For tests: which SemanticError something throws.
#pragma once

#include <string>

#include "tensor/semantic_error.h"

namespace shardcts::reference {

// Its kind and text, "no error" without one. Other exceptions pass.
template <class Act>
std::string ErrorOf(const Act& act) {
  try {
    act();
  } catch (const SemanticError& error) {
    return error.kind() + ": " + error.what();
  }
  return "no error";
}

}  // namespace shardcts::reference
