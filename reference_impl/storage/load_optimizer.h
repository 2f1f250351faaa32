// Optimizer state that is loaded before there is an optimizer to load into.
// Semantics: torch.distributed.checkpoint.optimizer.load_sharded_optimizer_state_dict.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "contract/value.h"
#include "storage/files.h"

namespace shardcts::reference {

// *Collective* over the group. {key: what the checkpoint has below the key}, nested as it was saved. A tensor of a
// parameter's state that has the parameter's shape is distributed as the parameter is in `model_state`, {FQN: tensor};
// others are plain. CheckpointException, on every rank: as LoadCheckpoint; the checkpoint has nothing below the key.
Dict LoadOptimizerState(Communicator& group, Files& files, const Dict& model_state, const std::string& key,
                        const std::string& path);

}  // namespace shardcts::reference
