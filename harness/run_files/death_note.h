// The file by which a rank says, just before it is killed, that its test has asked for it: in the folder of a test
// whose phase has the role "crash". *Local*.
#pragma once

#include <filesystem>
#include <optional>

namespace shardcts {

std::filesystem::path DeathNote(const std::filesystem::path& test_folder);
// The rank that it names; nothing: there is none.
std::optional<int> ReadDeathNote(const std::filesystem::path& test_folder);

}  // namespace shardcts
