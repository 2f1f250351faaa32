// The bytes, digest and dtype name of a tensor. All functions are *Local*.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

// "float32", "bfloat16", "int64", ... as PyTorch prints them without "torch.".
std::string DtypeName(at::ScalarType dtype);
std::optional<at::ScalarType> ParseDtype(std::string_view name);

// The tensor itself where it is contiguous on the CPU, otherwise a copy that is. Without a gradient.
at::Tensor ContiguousOnCpu(const at::Tensor& tensor);
// The bytes of a contiguous tensor on the CPU; valid as long as its storage is.
std::string_view BytesView(const at::Tensor& contiguous);
// The contiguous bytes, copied to the CPU; none of a tensor on the meta device.
std::string TensorBytes(const at::Tensor& tensor);
// How many bytes such a tensor has. Throws ContractViolation when a size is negative or absurd.
size_t CheckedSize(const std::vector<int64_t>& shape, at::ScalarType dtype);
// Throws ContractViolation as CheckedSize does, and when the number of bytes is another.
at::Tensor TensorFromBytes(std::string_view bytes, const std::vector<int64_t>& shape, at::ScalarType dtype);

// XXH3's 128 bits over the bytes, as 32 hexadecimal digits.
std::string Digest(std::string_view bytes);

std::string Base64Encode(std::string_view bytes);
std::optional<std::string> Base64Decode(std::string_view text);  // nullopt: not base64

}  // namespace shardcts
