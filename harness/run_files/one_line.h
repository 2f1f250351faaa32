// Texts from outside in messages of one line. *Local*.
#pragma once

#include <string>

namespace shardcts {

inline std::string OneLine(std::string text) {
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

}  // namespace shardcts
