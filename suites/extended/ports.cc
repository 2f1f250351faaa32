#include "suites/extended/ports.h"

#include "suites/extended/rule.h"

namespace shardcts::extended {
namespace {

std::vector<Port>& Registered() {
  static std::vector<Port> ports;
  return ports;
}

}  // namespace

RuleBody::RuleBody(const char* id, PortBody body, const char* file, int line) {
  const std::string path = file;
  const size_t suites = path.rfind("suites/");
  const std::string place = suites == path.npos ? path : path.substr(suites);
  Registered().push_back({id, body, place + ":" + std::to_string(line)});
}

std::vector<Port> Ports() { return Registered(); }

}  // namespace shardcts::extended
