// What implementation.describe gives, as pool_ready and results.json hold it. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace shardcts {

// What is wrong with it: types, missing fields, texts and lists that are too long. Nothing when it is right.
std::optional<std::string> FindDescriptionProblem(const nlohmann::ordered_json& description);

}  // namespace shardcts
