// Copying a part of a tensor into the whole: the runs of elements that follow one another in both. *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace shardcts::reference {

// How many elements of the part, from the place on, follow one another in the part and in the whole tensor. `place`:
// indices in the part; `part` and `shape`: sizes in elements. A run from within a row ends with the row.
// ValueError: no dimensions, lists of different length, a place outside the part, a part larger than the tensor.
int64_t ContiguousRun(const std::vector<int64_t>& place, const std::vector<int64_t>& part,
                      const std::vector<int64_t>& shape);

// The tensor of this shape that has the part at the offsets, and zeros elsewhere; on the CPU.
// ValueError: as ContiguousRun, a part that leaves the tensor.
at::Tensor PlacePart(const at::Tensor& part, const std::vector<int64_t>& offsets, const std::vector<int64_t>& shape);

}  // namespace shardcts::reference
