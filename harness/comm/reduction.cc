#include "comm/reduction.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <stdexcept>

namespace shardcts {
namespace {

void ReduceInto(at::Tensor total, const at::Tensor& part, ReduceOp op) {
  const bool is_bool = total.scalar_type() == at::kBool;
  switch (op) {
    case ReduceOp::kSum:
    case ReduceOp::kAvg: is_bool ? total.logical_or_(part) : total.add_(part); break;
    case ReduceOp::kMin: at::minimum_out(total, total, part); break;
    case ReduceOp::kMax: at::maximum_out(total, total, part); break;
    case ReduceOp::kProduct: is_bool ? total.logical_and_(part) : total.mul_(part); break;
  }
}

}  // namespace

std::string NameOf(ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum: return "sum";
    case ReduceOp::kAvg: return "average";
    case ReduceOp::kMin: return "minimum";
    case ReduceOp::kMax: return "maximum";
    case ReduceOp::kProduct: return "product";
  }
  return "unknown";
}

void CheckReduction(at::ScalarType type, ReduceOp op) {
  const bool known = c10::isIntegralType(type, /*includeBool=*/true) || type == at::kHalf || type == at::kBFloat16 ||
                     type == at::kFloat || type == at::kDouble;
  if (!known) throw std::invalid_argument(std::string("no reduction of dtype ") + c10::toString(type));
  if (op == ReduceOp::kAvg && !c10::isFloatingType(type))
    throw std::invalid_argument("an average needs a floating-point dtype");
}

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

at::Tensor Reduce(const std::vector<at::Tensor>& parts, ReduceOp op) {
  c10::NoGradGuard no_grad;
  if (IsHalf(parts.front())) return ReduceHalf(at::stack(parts), op);
  at::Tensor total = parts.front().clone();
  for (size_t rank = 1; rank < parts.size(); ++rank) ReduceInto(total, parts[rank], op);
  if (op == ReduceOp::kAvg) total.div_(static_cast<double>(parts.size()));
  return total;
}

}  // namespace shardcts
