#include "suites/rules/rule.h"

namespace shardcts::rules {

RuleBody::RuleBody(std::vector<Port>& registered, const char* id, PortBody body, const char* file, int line) {
  const std::string path = file;
  const size_t suites = path.rfind("suites/");
  const std::string place = suites == path.npos ? path : path.substr(suites);
  registered.push_back({id, body, place + ":" + std::to_string(line)});
}

}  // namespace shardcts::rules
