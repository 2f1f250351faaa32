#include "comm/half_reduction.h"

#include <ATen/ATen.h>

namespace shardcts {

bool IsHalf(const at::Tensor& tensor) {
  return tensor.scalar_type() == at::kHalf || tensor.scalar_type() == at::kBFloat16;
}

at::Tensor ReduceHalf(const at::Tensor& parts, ReduceOp op) {
  at::Tensor total = parts[0].to(at::kFloat);
  for (int64_t row = 1; row < parts.size(0); ++row) {
    const at::Tensor part = parts[row].to(at::kFloat);
    switch (op) {
      case ReduceOp::kSum:
      case ReduceOp::kAvg: total += part; break;
      case ReduceOp::kMin: total = at::minimum(total, part); break;
      case ReduceOp::kMax: total = at::maximum(total, part); break;
      case ReduceOp::kProduct: total *= part; break;
    }
  }
  if (op == ReduceOp::kAvg) total /= static_cast<double>(parts.size(0));
  return total.to(parts.scalar_type());
}

}  // namespace shardcts
