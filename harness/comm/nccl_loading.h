// Whether NCCL can be used, without its headers: ShardCTS may be built without them. All *Local*.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

namespace shardcts {

struct NcclLibrary;

// A library that is not there, or is not what it should be. One line, names the library.
class NcclNotUsable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// NVIDIA's NCCL and CUDA runtime, of the major version built with and not older than NCCL's header; libraries that the
// process has loaded already (a CUDA build of LibTorch) are used. Throws NcclNotUsable, also without a GPU, and where
// ShardCTS was built without NCCL.
std::shared_ptr<const NcclLibrary> LoadNccl();

// "2.32.3", "2.32.3 (emulator)"
std::string NcclVersion(const NcclLibrary& library);

}  // namespace shardcts
