// What the calls of every backend have in common, built on the calls of the interface.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "comm/call_state.h"
#include "comm/communicator.h"

namespace shardcts {

// *Collective*. AllGatherBytes, by calls on tensors on `device`.
std::vector<std::string> AllGatherBytesAsTensors(Communicator& group, const std::string& bytes, at::Device device);

// *Collective*. Exchanges the arguments of a split; returns the global ranks of this rank's new group in their order
// there, none when `color` is negative. When it returns, all ranks have arrived.
std::vector<int64_t> MembersAfterSplit(Communicator& group, int color, int key, at::Device device);

// *Collective*. This rank's index within the ranks of `world` that run on the same host.
int LocalRank(Communicator& world);

// *Local*. What a CommunicationError says: "mpi all_reduce on rank 1 in group [0,1,2]: REASON".
std::string FailureText(const Communicator& group, const std::string& operation, const std::string& reason);
std::string FailureText(const std::string& backend, const std::string& operation,
                        const std::vector<int64_t>& global_ranks, int rank, const std::string& reason);

// *Local*. Polls until `poll` returns true, without a pause for the first `busy`; later other processes get to run,
// while this one sleeps for a while, or in `rest`, where a peer can wake it; `rest` returns after 10 ms or before.
// Returns why the wait has ended before: an abort, the deadline, or the text that `poll` has put into `problem`.
std::optional<std::string> WaitFor(CallState& state, const std::function<bool(std::string& problem)>& poll,
                                   std::chrono::nanoseconds busy = std::chrono::microseconds(200),
                                   const std::function<void()>& rest = {});

}  // namespace shardcts
