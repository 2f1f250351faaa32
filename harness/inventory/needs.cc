#include "inventory/needs.h"

#include <algorithm>

#include "contract/capability_tree.h"
#include "inventory/grid.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kWith = " with ";

bool HasWorldOfOne(const TestRanks& ranks) {
  if (ranks.phases.empty()) return ranks.world_size == 1;
  return std::ranges::any_of(ranks.phases, [](const TestPhase& phase) { return phase.world_size == 1; });
}

// Of the names "X with Y" those whose Y is among the others, as X.
std::vector<std::string> Resolved(const std::vector<std::string>& names) {
  std::vector<std::string> resolved;
  for (const std::string& name : names) {
    const size_t with = name.find(kWith);
    if (with == name.npos) {
      resolved.push_back(name);
    } else if (std::ranges::count(names, name.substr(with + kWith.size()))) {
      resolved.push_back(name.substr(0, with));
    }
  }
  return resolved;
}

}  // namespace

std::vector<Need> ParseNeeds(const JsonPlace& place, const std::function<void(const JsonPlace&)>& check) {
  std::vector<Need> needs;
  if (!place.Has("needs")) return needs;
  for (const JsonPlace& element : place.At("needs").Elements()) {
    Need need{element.Member("capabilities").Texts(), Json::object()};
    if (check) std::ranges::for_each(element.At("capabilities").Elements(), check);
    if (element.Has("when")) need.when = ParseValueLists(element.At("when"));
    needs.push_back(std::move(need));
  }
  return needs;
}

bool Matches(const Json& value_lists, const Json& params, int world_size) {
  for (const auto& [key, values] : value_lists.items()) {
    const Json value = key == "world_size" ? Json(world_size) : params.value(key, Json());
    if (std::find(values.begin(), values.end(), value) == values.end()) return false;
  }
  return true;
}

std::vector<std::string> NeededCapabilities(std::vector<std::string> names, const std::vector<Need>& needs,
                                            const Json& params, const TestRanks& ranks) {
  for (const Need& need : needs) {
    if (!Matches(need.when, params, ranks.world_size)) continue;
    names.insert(names.end(), need.capabilities.begin(), need.capabilities.end());
  }
  if (HasWorldOfOne(ranks)) names.push_back("core.one_rank");
  return WithParentCapabilities(Resolved(names));
}

}  // namespace shardcts
