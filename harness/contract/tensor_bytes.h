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

// The contiguous bytes, copied to the CPU.
std::string TensorBytes(const at::Tensor& tensor);
// Throws ContractViolation when the number of bytes does not fit shape and dtype, or a size is negative or absurd.
at::Tensor TensorFromBytes(std::string_view bytes, const std::vector<int64_t>& shape, at::ScalarType dtype);

// "xxh128:HEX" over the bytes.
std::string Digest(std::string_view bytes);

std::string Base64Encode(std::string_view bytes);
std::optional<std::string> Base64Decode(std::string_view text);  // nullopt: not base64

}  // namespace shardcts
