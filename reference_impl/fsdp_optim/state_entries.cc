#include "fsdp_optim/state_entries.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace shardcts::reference {

bool IsTensorWithDims(const Value& value) {
  const auto* tensor = value.TryAs<Tensor>();
  return tensor && tensor->data.dim() > 0;
}

bool IsTensorWithoutDims(const Value& value) {
  const auto* tensor = value.TryAs<Tensor>();
  return tensor && tensor->data.dim() == 0;
}

std::vector<Dict::Entry> SortedEntries(const Dict& state) {
  std::vector<Dict::Entry> entries(state.begin(), state.end());
  std::ranges::sort(entries, {}, &Dict::Entry::key);
  return entries;
}

Dict CopiedToCpu(const Dict& state) {
  Dict copied;
  for (const auto& [name, value] : state) {
    const auto* tensor = value.TryAs<Tensor>();
    copied.Set(name, tensor ? Value(tensor->data.to(at::kCPU, /*non_blocking=*/false, /*copy=*/true)) : value);
  }
  return copied;
}

std::string ListText(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "'" : ", '") + name + "'";
  return "[" + text + "]";
}

}  // namespace shardcts::reference
