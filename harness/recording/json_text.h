// JSON in a text: a line of a trace, or a blob. *Local*.
#pragma once

#include <string>

#include "contract/json_codec.h"

namespace shardcts {

// Throws InputError, "PLACE: not JSON" or "PLACE: nested more than 256 deep".
Json ParseJsonText(const std::string& text, const std::string& place);

}  // namespace shardcts
