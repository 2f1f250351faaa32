// The LibTorch that this process has loaded, which may be another one than it was built with.
#pragma once

#include <filesystem>
#include <string>

namespace shardcts {

// Such as "2.13.0+cu130"; without what stands behind "+" where the library does not lie in a Python package.
std::string LoadedTorchVersion();

// True when it has the version that ShardCTS was built with. Builds of one version for the CPU and for CUDA count as the
// same: their classes have one layout (docs/versions.md).
bool LoadedTorchIsTheBuilt();

// The version in the file version.py of a folder of the Python package torch; empty when there is none.
std::string TorchVersionIn(const std::filesystem::path& package);

}  // namespace shardcts
