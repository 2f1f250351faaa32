#include "contract/torch_version.h"

#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/headeronly/version.h>

#include <fstream>

namespace shardcts {

std::string LoadedTorchVersion() {
  const uint64_t packed = aoti_torch_abi_version();
  const std::string numbers = std::to_string(packed >> 56) + "." + std::to_string(packed >> 48 & 0xff) + "." +
                              std::to_string(packed >> 40 & 0xff);
  Dl_info library;
  if (dladdr(reinterpret_cast<void*>(&aoti_torch_abi_version), &library) == 0) return numbers;
  const std::string full = TorchVersionIn(std::filesystem::path(library.dli_fname).parent_path().parent_path());
  return full.starts_with(numbers) ? full : numbers;
}

bool LoadedTorchIsTheBuilt() { return aoti_torch_abi_version() == TORCH_ABI_VERSION; }

std::string TorchVersionIn(const std::filesystem::path& package) {
  constexpr std::string_view kBegin = "__version__ = '";
  std::ifstream file(package / "version.py");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(kBegin)) continue;
    const size_t end = line.find('\'', kBegin.size());
    if (end != line.npos) return line.substr(kBegin.size(), end - kBegin.size());
  }
  return "";
}

}  // namespace shardcts
