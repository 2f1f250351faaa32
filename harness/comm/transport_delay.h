// TransportDelay: by how much the calls of a communicator are late, as a seed decides.
#pragma once

#include <ATen/core/Tensor.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <random>

namespace shardcts {

// All *Local*. Thread-safe.
class TransportDelay {
 public:
  // From the next call on; nullopt: no call is late any more. Ranks with different seeds are late at different times.
  void Set(std::optional<uint64_t> seed);
  // Of the next call: up to 1 ms, one in eight 30 ms. nullopt: none.
  std::optional<std::chrono::microseconds> Next();

 private:
  std::mutex mutex_;
  std::optional<std::mt19937_64> random_;
};

// What a tensor holds until a late call has written it: every byte 255 (NaN, -1), of bool tensors 1. On any device; unseen
// by autograd.
void PoisonTensor(const at::Tensor& tensor);

}  // namespace shardcts
