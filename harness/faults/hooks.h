// How a hook is defined, and hooks that others call. *Local*.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>

#define SHARDCTS_HOOK extern "C" __attribute__((visibility("default")))

namespace shardcts::faults {

int WatchedOpen(int folder, const char* path, int flags, mode_t mode);
// `offset` < 0: at the descriptor's position.
ssize_t WatchedWrite(int descriptor, const iovec* parts, int count, int64_t offset);
int WatchedClose(int descriptor);

}  // namespace shardcts::faults
