// Limits the size of a log whose writers append to it (O_APPEND) and do not read it. *Local*.
#pragma once

#include <cstdint>
#include <filesystem>

namespace shardcts {

inline constexpr uintmax_t kMaxLogBytes = uintmax_t{16} << 20;

// Of a file of more than `max_bytes`: keeps the first and the last quarter of that, and a line between them that says
// how much is missing. What is written at the same moment may be lost. Never throws: a log is no result.
void LimitLog(const std::filesystem::path& file, uintmax_t max_bytes = kMaxLogBytes) noexcept;

}  // namespace shardcts
