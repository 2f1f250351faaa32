// Whole tensors of a checkpoint in files that any reader of safetensors understands. *Local*.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "storage/files.h"

namespace shardcts::reference {

// Writes `model-0000I-of-0000N.safetensors` and `model.safetensors.index.json` into the folder `target`, which must have
// no such files. `file_of`: of each tensor the number I of its file; empty: 1. One tensor is in memory at a time.
// CheckpointException: no complete checkpoint, one with plain values or dtypes that the format has no name for, bytes
// that have changed, other names in `file_of` than tensors.
void ConsolidateCheckpoint(Files& files, const std::string& path, const std::string& target,
                           const std::map<std::string, int64_t>& file_of);

}  // namespace shardcts::reference
