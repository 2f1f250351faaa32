// The version of the contract and of its binary form.
#pragma once

#include "contract/version_number.h"

#define SHARDCTS_STRINGIZE_(x) #x
#define SHARDCTS_STRINGIZE(x) SHARDCTS_STRINGIZE_(x)

// What the loader compares before it calls into a shared library: the contract version, then what determines the binary
// layout of values (ABI of the compiler family, ABI of the C++ library, LibTorch version).
#include <torch/headeronly/version.h>
#define SHARDCTS_CONTRACT_ABI                                                            \
  "shardcts-contract-" SHARDCTS_STRINGIZE(SHARDCTS_CONTRACT_VERSION) " gxx-abi-"         \
      SHARDCTS_STRINGIZE(__GXX_ABI_VERSION) " cxx11-" SHARDCTS_STRINGIZE(_GLIBCXX_USE_CXX11_ABI) \
      " torch-" TORCH_VERSION
