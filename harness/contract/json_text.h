// JSON as text, faster than the library's own for long plain strings, such as tensors' data. *Local*.
#pragma once

#include <string>

#include "contract/json_codec.h"

namespace shardcts {

// Appends what json.dump() gives, on one line; what is not UTF-8 is replaced.
void AppendJson(const Json& json, std::string& text);

}  // namespace shardcts
