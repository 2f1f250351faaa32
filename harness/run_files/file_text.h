// Reading files that other processes change or remove meanwhile: logs, and /proc. *Local*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace shardcts {

// The bytes of a file from byte `begin` on, as far as they can be read; "" when there is no such file. Does not throw
// when the process ends whose file in /proc is read.
std::string FileText(const std::filesystem::path& file, uintmax_t begin = 0);

}  // namespace shardcts
