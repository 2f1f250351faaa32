// What a rank holds of a tensor: boxes of the whole, and views of the memory that has them. *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "contract/value.h"
#include "storage/layout.h"

namespace shardcts::reference {

struct Piece {
  Box box;
  at::Tensor tensor;  // of the box's sizes, without autograd history; shares memory with the value
};

struct HeldTensor {
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;  // global
  std::vector<Piece> pieces;   // several where strided shards leave gaps; none outside the tensor's mesh
};

// Of a plain, distributed or sharded tensor on the rank of this global number. RuntimeError: partial values, a local
// part that has not the shape that placements or metadata give, a tensor without memory.
HeldTensor HeldBy(int64_t rank, const Value& value);

}  // namespace shardcts::reference
