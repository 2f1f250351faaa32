// Reductions on host memory, rounded as NCCL rounds. All *Local*.
#pragma once

#include <nccl.h>

#include <cstddef>

namespace shardcts::nccl_emulator {

// Bytes of one element; 0 for a type that the emulator does not have.
size_t ElementSize(ncclDataType_t type);

// Reduces `parts` rows of `count` elements each, in order, into `output`, which may be one of the rows.
void Reduce(ncclDataType_t type, ncclRedOp_t op, const char* rows, int parts, size_t count, char* output);

}  // namespace shardcts::nccl_emulator
