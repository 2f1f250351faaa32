// Removing what somebody else has filled. *Local*.
#pragma once

#include <filesystem>

namespace shardcts {

// Removes a folder and all in it, folders without permissions, too; follows no links. What cannot be removed stays.
void RemoveTree(const std::filesystem::path& folder);

}  // namespace shardcts
