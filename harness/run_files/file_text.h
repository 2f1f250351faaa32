// Reading files that other processes change or remove meanwhile: logs, and /proc. *Local*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace shardcts {

// Opens a regular file; -1 for all else, without waiting: a rank may have put a pipe, a device or a link in its place.
int OpenRegularFile(const std::filesystem::path& file, int flags);

// The bytes of a regular file from byte `begin` on, as far as they can be read; "" when there is no such file, and when
// the process has ended whose file in /proc it is.
std::string FileText(const std::filesystem::path& file, uintmax_t begin = 0);

}  // namespace shardcts
