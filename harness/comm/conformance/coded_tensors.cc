#include "comm/conformance/coded_tensors.h"

#include <ATen/ATen.h>

namespace shardcts {
namespace {

// Wide enough that no reduction of Addends is rounded or overflows.
at::ScalarType WideType(at::ScalarType type) { return c10::isFloatingType(type) ? at::kDouble : at::kLong; }

}  // namespace

const std::vector<at::ScalarType>& MovableDtypes() {
  static const std::vector<at::ScalarType> dtypes = {at::kHalf, at::kBFloat16, at::kFloat,        at::kDouble,
                                                     at::kChar, at::kShort,    at::kInt,          at::kLong,
                                                     at::kByte, at::kBool,     at::kComplexFloat, at::kComplexDouble};
  return dtypes;
}

const std::vector<at::ScalarType>& ReducibleDtypes() {
  static const std::vector<at::ScalarType> dtypes(MovableDtypes().begin(), MovableDtypes().end() - 2);
  return dtypes;
}

at::Tensor Coded(int rank, int64_t count, at::ScalarType type) {
  return ((at::arange(count, at::kLong) + 10 * rank) % (type == at::kBool ? 2 : 17)).to(type);
}

at::Tensor Addend(int rank, int size, int64_t count, at::ScalarType type, ReduceOp op) {
  const at::Tensor code = Coded(rank, count, type);
  if (type == at::kBool) return code;
  if (op == ReduceOp::kProduct) return (1 + code.to(at::kLong) % 2).to(type);
  if (op == ReduceOp::kAvg) return code * size;  // an average that every way of dividing gives exactly
  return code;
}

at::Tensor Reduced(int size, int64_t count, at::ScalarType type, ReduceOp op) {
  std::vector<at::Tensor> parts;
  for (int r = 0; r < size; ++r) parts.push_back(Addend(r, size, count, type, op).to(WideType(type)));
  const at::Tensor all = at::stack(parts);
  switch (op) {
    case ReduceOp::kSum: return all.sum(0).to(type);
    case ReduceOp::kAvg: return all.mean(0).to(type);
    case ReduceOp::kMin: return std::get<0>(all.min(0)).to(type);
    case ReduceOp::kMax: return std::get<0>(all.max(0)).to(type);
    case ReduceOp::kProduct: return all.prod(0).to(type);
  }
  return {};
}

bool Same(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() && at::equal(a, b);
}

}  // namespace shardcts
