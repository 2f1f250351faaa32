// Checkpoints in other formats.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "contract/value.h"
#include "storage/files.h"

namespace shardcts::reference {

enum class TargetFormat { kDefault, kSafetensors, kTorchFile };

// *Local*. Whole tensors of a checkpoint, or of a file of torch.save, go to `target`; `rank` is this process's, for
// messages. CheckpointException: the source cannot be read, what the format cannot store.
void ConvertCheckpoint(Files& files, int64_t rank, const std::string& source, const std::string& target,
                       TargetFormat format);

// *Collective*. Fills the given tensors with their parts of the whole ones in a file of torch.save, once it is known on
// every rank that all of them are there and fit. CheckpointException on every rank.
Dict LoadTorchFile(Communicator& group, Files& files, const Dict& state_dict, const std::string& path);

}  // namespace shardcts::reference
