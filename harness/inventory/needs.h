// What a test needs: the capabilities that follow from its parameters and world sizes. *Local*.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "inventory/json_place.h"
#include "inventory/phases.h"

namespace shardcts {

// Capabilities that some tests of a function or rule need.
struct Need {
  std::vector<std::string> capabilities;
  nlohmann::ordered_json when;  // key -> allowed values; empty: always
};

// The member "needs" of the place; none: an empty list. `check` is called with the place of each name.
std::vector<Need> ParseNeeds(const JsonPlace& place, const std::function<void(const JsonPlace&)>& check = {});

// Whether every key's value is allowed; "world_size" is a key, too.
bool Matches(const nlohmann::ordered_json& value_lists, const nlohmann::ordered_json& params, int world_size);

// `names`, of all tests, and those of the needs that match. Each stands after those that it is a part of. A name
// "X with Y" is X where Y is needed anyhow. A world of one rank, also that of a phase, needs `core.one_rank`.
std::vector<std::string> NeededCapabilities(std::vector<std::string> names, const std::vector<Need>& needs,
                                            const nlohmann::ordered_json& params, const TestRanks& ranks);

}  // namespace shardcts
