#include "suites/storage/ports.h"

#include "suites/storage/rule.h"

namespace shardcts::storage {

std::vector<Port>& RegisteredRules() {
  static std::vector<Port> ports;
  return ports;
}

std::vector<Port> Ports() { return RegisteredRules(); }

}  // namespace shardcts::storage
