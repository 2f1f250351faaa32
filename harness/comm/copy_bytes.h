// CopyBytes: a memcpy that leaves the processor's caches to others where much is copied.
#pragma once

#include <cstdint>

namespace shardcts {

// From this size on what is written goes to memory past the caches. A write through a cache first reads what it
// replaces: a third of the traffic, where more is copied than a cache holds.
constexpr int64_t kLeastStreamedBytes = 512 << 10;

// *Local*. `from` and `to` do not overlap, or are the same. Who learns from an atomic number, stored with release order
// afterwards, that the bytes are there, sees them.
void CopyBytes(char* to, const char* from, int64_t bytes);

}  // namespace shardcts
