// Checks and byte views of tensors that every backend's calls begin and end with. All *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>

namespace shardcts {

int64_t NumBytes(const at::Tensor& tensor);
int64_t TotalBytes(std::span<const at::Tensor> tensors);

// Each throws std::invalid_argument that begins with `what`: unless the tensor is contiguous and on `device`; unless
// there are `expected` such tensors; unless `whole` (the full tensor) has `count` times the elements of `chunk`, and
// its dtype.
void CheckTensor(const at::Tensor& tensor, const char* what, at::Device device = at::kCPU);
void CheckTensors(std::span<const at::Tensor> tensors, int expected, const char* what, at::Device device = at::kCPU);
void CheckChunks(const at::Tensor& whole, const at::Tensor& chunk, int count, const char* what);

// Copies a row of bytes into the tensors, one after the other.
void TakeApart(const at::Tensor& row, std::span<at::Tensor> tensors);

at::Tensor BytesTensor(const std::string& bytes);
std::string BytesString(const at::Tensor& tensor);

}  // namespace shardcts
