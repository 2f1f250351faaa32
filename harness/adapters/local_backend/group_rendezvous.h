// How the ranks of a new group meet.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <chrono>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace shardcts::local_backend {

// *Collective* over the new group. `global_ranks` is empty for the group of all ranks, which meet in the store; it is
// also what the ranks of later groups meet over: a file store looks for news every 10 ms only. CommunicationError: one
// does not come until `timeout`, or is on another host.
std::unique_ptr<Communicator> MakeGroup(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                        const std::vector<int64_t>& global_ranks, std::chrono::milliseconds timeout);

}  // namespace shardcts::local_backend
