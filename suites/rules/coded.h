// Position-coded data: every element of every tensor of a test has another value, so that a permutation, a shift or a
// mix-up of tensors shows. *Local*, the same on every rank.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "contract/value.h"

namespace shardcts::rules {

// What is added to the code of a tensor that is not a model's value, so that it is never taken for one.
constexpr int64_t kFirstMoment = int64_t{1} << 20;
constexpr int64_t kSecondMoment = int64_t{1} << 21;

// Element i is 4096 * index + i + offset, on the CPU. Tensors have at most 4096 elements. In dtypes that cannot hold
// it, modulo a prime that they can (2039 in float16, 251 in bfloat16 and uint8, 127 in int8, 2 in bool); the imaginary
// part of complex numbers is minus the real one.
at::Tensor Coded(at::IntArrayRef shape, int64_t index, int64_t offset = 0, at::ScalarType dtype = at::kFloat);

// Of each entry's global shape and dtype; the k-th entry has index k.
Dict CodedLike(const Dict& tensors, int64_t offset = 0);

}  // namespace shardcts::rules
