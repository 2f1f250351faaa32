// The text of the error that a call of a communicator ends with. *Local*.
#pragma once

#include <functional>
#include <string>

#include "comm/communicator.h"

namespace shardcts {

// "no error" when there is none.
inline std::string ErrorText(const std::function<void()>& call) {
  try {
    call();
  } catch (const CommunicationError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace shardcts
