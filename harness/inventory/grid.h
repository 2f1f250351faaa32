// Grids: lists of values whose product are the subtests of a test. *Local*.
#pragma once

#include <string>
#include <vector>

#include "inventory/json_place.h"

namespace shardcts {

// An object of lists that each have at least one value.
nlohmann::ordered_json ParseValueLists(const JsonPlace& place);

// The members of `place` but `reserved` as parameter -> values. At most 10000 elements.
nlohmann::ordered_json ParseGridLists(const JsonPlace& place, const std::vector<const char*>& reserved);

// Every element of one grid: keys in written order, the last varies fastest.
std::vector<nlohmann::ordered_json> ExpandGrid(const nlohmann::ordered_json& lists);

// A value as ids have it.
std::string ValueText(const nlohmann::ordered_json& value);

// "world_size=4,mesh=1-D": the last part of a test's id. `ranks`: what it begins with.
std::string VariantText(std::string ranks, const nlohmann::ordered_json& element);

}  // namespace shardcts
