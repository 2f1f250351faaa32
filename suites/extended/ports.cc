#include "suites/extended/ports.h"

#include "suites/extended/rule.h"

namespace shardcts::extended {

std::vector<Port>& RegisteredRules() {
  static std::vector<Port> ports;
  return ports;
}

std::vector<Port> Ports() { return RegisteredRules(); }

}  // namespace shardcts::extended
