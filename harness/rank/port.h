// Port: the body of one upstream test function, or of one rule. The inventory supplies instances and parameters.
#pragma once

#include <string>
#include <vector>

namespace shardcts {

class Trial;

using PortBody = void (*)(Trial&);

struct Port {
  std::string function;  // upstream's name, or the rule's id
  PortBody body;
  std::string place = {};  // "FILE:LINE" of a rule's body
};

struct Suite {
  std::string name;
  std::vector<Port> ports;
};

// All suites in this program (suites/CMakeLists.txt generates the list).
std::vector<Suite> AllPorts();

}  // namespace shardcts

// Declares or defines the body of an upstream function: `PORT(test_x);` in the suite's ports.h, `PORT(test_x) { … }`.
#define PORT(function) void function([[maybe_unused]] ::shardcts::Trial& t)
