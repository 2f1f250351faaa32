// Which part of a tensor each rank holds, as closed formulas. *Local*.
#pragma once

#include <cstdint>
#include <vector>

#include "contract/value.h"

namespace shardcts::extended {

// Rows [offset, offset + size).
struct Chunk {
  int64_t offset = 0;
  int64_t size = 0;
};

// Of n rows over W ranks, of rank r: [min(r·c, n), min((r+1)·c, n)) with c = ⌈n/W⌉. Source: docs/semantics.md.
Chunk ChunkOf(int64_t n, int64_t world_size, int64_t rank);

}  // namespace shardcts::extended
