// Commands that are Python packages of this repository. *Local*.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace shardcts {

// Replaces this process by `python -m package words…`: the exit code is the package's own. `folder`: where the package
// is. SHARDCTS_PYTHON names another Python than the build's. Throws InputError when it cannot be started.
[[noreturn]] void ExecutePythonPackage(const std::filesystem::path& folder, const std::string& package,
                                       const std::vector<std::string>& words);

}  // namespace shardcts
