// What the hooks share: the plan, the numbers, the log. *Local*, thread-safe.
#pragma once

#include <cerrno>
#include <functional>
#include <mutex>
#include <optional>
#include <string>

#include "faults/faults.h"

namespace shardcts::faults {

// False almost always: one load.
bool Active();

// The path below the root, "." for the root itself; nothing: it is elsewhere, or the layer is not armed.
std::optional<std::string> BelowRoot(int folder, const char* path);
std::optional<std::string> BelowRoot(int descriptor);
uint64_t FileOf(int descriptor);
uint64_t FileAt(const std::string& relative);  // not through a link
int FlagsOf(int descriptor);
// Notes that something was used whose effects are not seen.
void NoteUnseen(const std::string& what);

// Does `real` as one operation, or what the plan says in its place. `half`: the first half of it, for writes and reads.
// `offset` and `length` of the operation are set; result, number and times are filled in.
int64_t Perform(Operation operation, const std::function<int64_t()>& real,
                const std::function<int64_t()>& half = nullptr, const std::function<void(Operation&)>& after = nullptr);

// Whether written bytes are wanted.
bool WantsBytes();
bool WantsReads();

}  // namespace shardcts::faults
