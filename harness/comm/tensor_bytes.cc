#include "comm/tensor_bytes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <stdexcept>

namespace shardcts {

int64_t NumBytes(const at::Tensor& tensor) { return tensor.numel() * static_cast<int64_t>(tensor.element_size()); }

int64_t TotalBytes(std::span<const at::Tensor> tensors) {
  int64_t total = 0;
  for (const at::Tensor& tensor : tensors) total += NumBytes(tensor);
  return total;
}

void CheckTensor(const at::Tensor& tensor, const char* what, at::Device device) {
  if (!tensor.defined()) throw std::invalid_argument(std::string(what) + " is not a tensor");
  if (tensor.device() != device) {
    throw std::invalid_argument(std::string(what) + " is on " + tensor.device().str() + ", not on " + device.str());
  }
  if (!tensor.is_contiguous()) throw std::invalid_argument(std::string(what) + " is not contiguous");
}

void CheckChunks(const at::Tensor& whole, const at::Tensor& chunk, int count, const char* what) {
  if (whole.numel() == chunk.numel() * count && whole.scalar_type() == chunk.scalar_type()) return;
  throw std::invalid_argument(std::string(what) + ": " + std::to_string(whole.numel()) + " elements are not " +
                              std::to_string(count) + " times " + std::to_string(chunk.numel()) + " of one dtype");
}

void CheckTensors(std::span<const at::Tensor> tensors, int expected, const char* what, at::Device device) {
  if (static_cast<int>(tensors.size()) != expected) {
    throw std::invalid_argument(std::string(what) + ": " + std::to_string(tensors.size()) + " tensors for " +
                                std::to_string(expected) + " ranks");
  }
  for (const at::Tensor& tensor : tensors) CheckTensor(tensor, what, device);
}

void TakeApart(const at::Tensor& row, std::span<at::Tensor> tensors) {
  const char* from = static_cast<const char*>(row.const_data_ptr());
  for (at::Tensor& tensor : tensors) {
    const int64_t bytes = NumBytes(tensor);
    if (bytes > 0) std::copy_n(from, bytes, static_cast<char*>(tensor.mutable_data_ptr()));
    from += bytes;
  }
}

at::Tensor BytesTensor(const std::string& bytes) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(bytes.size())}, at::kByte);
  std::copy(bytes.begin(), bytes.end(), static_cast<char*>(tensor.mutable_data_ptr()));
  return tensor;
}

std::string BytesString(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), static_cast<size_t>(tensor.numel())};
}

}  // namespace shardcts
