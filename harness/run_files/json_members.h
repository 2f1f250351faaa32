// The members of a JSON object as they stand in its text: for merging large lines without reading what is in them.
// *Local*.
#pragma once

#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace shardcts {

// Name, without quotes and with its escapes, and value. They are parts of the text that was given.
using JsonMembers = std::vector<std::pair<std::string_view, std::string_view>>;

// nullopt: no object, or one that is cut off. Values are only followed to their ends, not checked.
std::optional<JsonMembers> SplitJsonObject(std::string_view text);

}  // namespace shardcts
