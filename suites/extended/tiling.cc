#include "suites/extended/tiling.h"

#include <ATen/ATen.h>

#include <map>

namespace shardcts::extended {
namespace {

std::vector<double> CodesOf(const at::Tensor& tensor) {
  const at::Tensor codes = tensor.detach().to(at::kCPU, at::kDouble).contiguous().flatten();
  return {codes.const_data_ptr<double>(), codes.const_data_ptr<double>() + codes.numel()};
}

}  // namespace

std::vector<at::Tensor> PartsOf(const Value& value) {
  if (const auto* dtensor = value.TryAs<DTensor>()) return {dtensor->local};
  if (value.TryAs<Tensor>()) return {value.AsTensor()};
  std::vector<at::Tensor> parts;
  for (const LocalShard& shard : value.AsShardedTensor().local_shards) parts.push_back(shard.tensor);
  return parts;
}

Verification Tile(std::string_view what, const at::Tensor& full, const std::vector<at::Tensor>& parts) {
  std::map<double, int64_t> found;  // code -> how often
  for (const at::Tensor& part : parts) {
    for (double code : CodesOf(part)) ++found[code];
  }
  const std::vector<double> codes = CodesOf(full);
  for (size_t i = 0; i < codes.size(); ++i) {
    const int64_t times = found.contains(codes[i]) ? found[codes[i]] : 0;
    if (times != 1) return {false, fmt::format("{}: element {}: expected once, actual {} times", what, i, times)};
    found.erase(codes[i]);
  }
  if (found.empty()) return {};
  return {false, fmt::format("{}: expected no other elements, actual {} with value {}", what, found.begin()->second,
                             found.begin()->first)};
}

Verification EmptyOnesAtTheEnd(std::string_view what, const std::vector<std::vector<at::Tensor>>& parts) {
  bool empty_before = false;
  for (size_t rank = 0; rank < parts.size(); ++rank) {
    int64_t elements = 0;
    for (const at::Tensor& part : parts[rank]) elements += part.numel();
    if (elements > 0 && empty_before) {
      return {false, fmt::format("{}: expected nothing on rank {} after an empty one, actual {} elements", what, rank,
                                 elements)};
    }
    empty_before = empty_before || elements == 0;
  }
  return {};
}

}  // namespace shardcts::extended
