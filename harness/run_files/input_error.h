// InputError: the command or a file it names is wrong. Ends the program with exit code 2 and its text as one line.
#pragma once

#include <stdexcept>

namespace shardcts {

class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace shardcts
