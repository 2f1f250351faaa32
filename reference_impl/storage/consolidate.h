// Whole tensors of a checkpoint in files that any reader of safetensors understands.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "comm/communicator.h"
#include "storage/files.h"

namespace shardcts::reference {

// *Local*. Writes `model-0000I-of-0000N.safetensors` and `model.safetensors.index.json` into the folder `target`, which
// must have no checkpoint. `file_of`: of each tensor the number I of its file; nullopt: 1. One tensor is in memory at a
// time. Files of a consolidation that fails are removed.
// CheckpointException: a checkpoint in `target`; no complete checkpoint in `path`, one with plain values or dtypes that
// the format has no name for, bytes that have changed, other names in `file_of` than tensors.
void ConsolidateCheckpoint(Files& files, const std::string& path, const std::string& target,
                           const std::optional<std::map<std::string, int64_t>>& file_of);

// *Collective* over the group. The same, where each file is written by one rank and the first rank writes the index. An
// error of one rank is an error of all.
void ConsolidateTogether(Communicator& group, Files& files, const std::string& path, const std::string& target,
                         const std::optional<std::map<std::string, int64_t>>& file_of);

}  // namespace shardcts::reference
