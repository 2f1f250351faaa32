// NCCL and the CUDA runtime, loaded at run time: one binary serves machines with and without GPUs. All *Local*.
//
// Instead of NVIDIA's libraries the emulator (comm/emulator/) can be loaded: the same functions over host memory. It
// identifies itself, and version and backend then say "emulator".
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <memory>
#include <string>

#include "comm/nccl_loading.h"

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

struct NcclLibrary {
#define SHARDCTS_MEMBER(name) decltype(&::name) name = nullptr;
  SHARDCTS_NCCL_FUNCTIONS(SHARDCTS_MEMBER)
  SHARDCTS_CUDA_FUNCTIONS(SHARDCTS_MEMBER)
#undef SHARDCTS_MEMBER

  bool emulator = false;  // host memory, no GPU: nothing done with it is a GPU result
  std::string version;    // "2.32.3", "2.32.3 (emulator)"
};

// The emulator in the library `path`. Throws NcclNotUsable, also when it is not the emulator.
std::shared_ptr<const NcclLibrary> LoadNcclEmulator(const std::string& path);

}  // namespace shardcts
