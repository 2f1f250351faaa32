// How much memory a rank needs for something: what the operating system counts, since an implementation need not.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "rank/trial.h"

namespace shardcts::state_dict {

// Runs `body`; by how many bytes the process's resident memory grew at most meanwhile. Nothing where that is not
// known, or does not say what the device under test needs. Local.
std::optional<int64_t> PeakGrowthBytes(const Trial& t, const std::function<void()>& body);

}  // namespace shardcts::state_dict
