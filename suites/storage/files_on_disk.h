// The files below a folder, as a rule looks at them and damages them. *Local*.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>

#include "contract/value.h"

namespace shardcts::storage {

// Relative path -> digest of the content.
std::map<std::string, std::string> DigestsBelow(const std::string& folder);
// Name without folders -> bytes.
Dict SizesByName(const std::string& folder);
int64_t BytesBelow(const std::string& folder);
// The path of the largest one, but for the file of this path. HarnessError: there is none.
std::string LargestBelow(const std::string& folder, const std::string& other_than = {});
std::string ContentOf(const std::string& path);
// The path of a file that has these bytes, and where; an empty path: none has.
std::pair<std::string, size_t> FindBytes(const std::string& folder, const std::string& bytes);
// Changes one bit of the byte at this place.
void FlipBit(const std::string& path, size_t place);
// Every byte becomes 0; the sizes stay.
void ZeroBelow(const std::string& folder);

}  // namespace shardcts::storage
