#include "comm/transport_delay.h"

#include <ATen/ATen.h>

#include <cstring>

namespace shardcts {
namespace {

using std::chrono::microseconds;

constexpr microseconds kUsual{1000};
constexpr microseconds kLong{30'000};
constexpr uint64_t kOneInIsLong = 8;

}  // namespace

void TransportDelay::Set(std::optional<uint64_t> seed) {
  const std::lock_guard lock(mutex_);
  random_.reset();
  if (seed) random_.emplace(*seed);
}

std::optional<microseconds> TransportDelay::Next() {
  const std::lock_guard lock(mutex_);
  if (!random_) return std::nullopt;
  if ((*random_)() % kOneInIsLong == 0) return kLong;
  return microseconds((*random_)() % static_cast<uint64_t>(kUsual.count()));
}

void PoisonTensor(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return;
  const at::Tensor pattern = at::empty(tensor.sizes(), tensor.scalar_type());
  std::memset(pattern.mutable_data_ptr(), tensor.scalar_type() == at::kBool ? 1 : 0xFF, pattern.nbytes());
  tensor.variable_data().copy_(pattern);
}

}  // namespace shardcts
