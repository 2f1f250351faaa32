// Port: the body of one upstream test function. The inventory supplies instances and parameters.
#pragma once

#include <string>
#include <vector>

namespace shardcts {

class Trial;

using PortBody = void (*)(Trial&);

struct Port {
  std::string function;  // upstream's name
  PortBody body;
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
