#include "suites/extended/chunks.h"

#include <algorithm>

namespace shardcts::extended {

Chunk ChunkOf(int64_t n, int64_t world_size, int64_t rank) {
  const int64_t rows = (n + world_size - 1) / world_size;
  const int64_t begin = std::min(rank * rows, n);
  return {begin, std::min((rank + 1) * rows, n) - begin};
}

}  // namespace shardcts::extended
