// Changes texts of files at random, so that readers see what nobody wrote. *Local*.
#pragma once

#include <random>
#include <string>

namespace shardcts {

using Random = std::mt19937_64;

// The text with one to four changes: bytes and parts lost, doubled, moved or replaced by what readers stumble over. When it
// is JSON, a half of the changes are to its values and keys instead, and it stays JSON.
std::string MutateText(const std::string& text, Random& random);

}  // namespace shardcts
