// NCCL and the CUDA runtime, loaded at run time: one binary serves machines with and without GPUs. All *Local*.
//
// Instead of NVIDIA's libraries the emulator (comm/emulator/) can be loaded: the same functions over host memory. It
// identifies itself, and version and backend then say "emulator".
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <memory>
#include <stdexcept>
#include <string>

// Every function that is called, by library.
// clang-format off
#define SHARDCTS_NCCL_FUNCTIONS(X)                                                                \
  X(ncclGetVersion) X(ncclGetErrorString) X(ncclGetLastError) X(ncclGetUniqueId)                  \
  X(ncclCommInitRankConfig) X(ncclCommSplit) X(ncclCommGetAsyncError)                             \
  X(ncclCommFinalize) X(ncclCommDestroy) X(ncclCommAbort)                                         \
  X(ncclAllGather) X(ncclReduceScatter) X(ncclAllReduce) X(ncclBroadcast) X(ncclSend) X(ncclRecv) \
  X(ncclGroupStart) X(ncclGroupEnd)
#define SHARDCTS_CUDA_FUNCTIONS(X)                                                                \
  X(cudaGetErrorString) X(cudaGetDeviceCount) X(cudaSetDevice)                                    \
  X(cudaStreamCreateWithFlags) X(cudaStreamQuery) X(cudaStreamDestroy)
// clang-format on

namespace shardcts {

// A library that is not there, or is not what it should be. One line, names the library.
class NcclNotUsable : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct NcclLibrary {
#define SHARDCTS_MEMBER(name) decltype(&::name) name = nullptr;
  SHARDCTS_NCCL_FUNCTIONS(SHARDCTS_MEMBER)
  SHARDCTS_CUDA_FUNCTIONS(SHARDCTS_MEMBER)
#undef SHARDCTS_MEMBER

  bool emulator = false;  // host memory, no GPU: nothing done with it is a GPU result
  std::string version;    // "2.32.3", "2.32.3 (emulator)"
};

// NVIDIA's NCCL and CUDA runtime, of the major version built with and not older than NCCL's header; libraries that the
// process has loaded already (a CUDA build of LibTorch) are used. Throws NcclNotUsable, also without a GPU.
std::shared_ptr<const NcclLibrary> LoadNccl();

// The emulator in the library `path`. Throws NcclNotUsable, also when it is not the emulator.
std::shared_ptr<const NcclLibrary> LoadNcclEmulator(const std::string& path);

}  // namespace shardcts
