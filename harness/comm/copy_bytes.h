// CopyBytes: a memcpy that bypasses the processor's caches where much is copied.
#pragma once

#include <cstdint>

namespace shardcts {

// From this size on writes bypass the caches. A write through a cache first reads what it replaces: a third of the
// memory traffic, where more is copied than a cache holds.
constexpr int64_t kLeastStreamedBytes = 512 << 10;

// *Local*. `from` and `to` do not overlap, or are the same. A thread or process that reads an atomic number which was
// stored with release order afterwards sees the bytes.
void CopyBytes(char* to, const char* from, int64_t bytes);

}  // namespace shardcts
