// The ranks that a model is spread over. *Local*.
#pragma once

#include "comm/communicator.h"
#include "models/module.h"

namespace shardcts::reference {

// The communicator of the ranks that all sharded parameters of the model live on, where these are fewer than the world
// (a mesh of some ranks, an FSDP1 unit over a group): then the distributed state-dict functions are called by these
// ranks only, and the first of them takes the place of rank 0. Otherwise, and where parts of the model live on
// different ranks, `world`.
Communicator& WorldOf(models::Module& model, Communicator& world);

}  // namespace shardcts::reference
