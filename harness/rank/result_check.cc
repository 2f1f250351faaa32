#include "rank/result_check.h"

#include <ATen/ATen.h>
#include <ATen/EmptyTensor.h>
#include <fmt/format.h>

#include <sstream>

#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

constexpr int64_t kMaxRepeatedBytes = int64_t{256} << 20;

// Throws c10::Error where LibTorch itself cannot say.
std::string ProblemOfLayout(const at::Tensor& tensor) {
  if (tensor.layout() != at::kStrided || tensor.is_nested()) {
    std::ostringstream layout;
    layout << tensor.layout();
    return "a tensor of layout " + (tensor.is_nested() ? "nested" : layout.str());
  }
  if (!ParseDtype(DtypeName(tensor.scalar_type()))) {
    return fmt::format("a tensor of dtype {}, which the contract does not have", DtypeName(tensor.scalar_type()));
  }
  if (tensor.is_meta() || tensor.numel() == 0) return "";
  if (!tensor.has_storage()) return "a tensor without storage";
  const auto stored = static_cast<int64_t>(tensor.storage().nbytes());
  const auto needed = static_cast<int64_t>(at::detail::computeStorageNbytes(
      tensor.sizes(), tensor.strides(), tensor.element_size(), static_cast<size_t>(tensor.storage_offset())));
  if (needed > stored) return fmt::format("a tensor that needs {} bytes of a storage of {}", needed, stored);
  int64_t bytes = 0;
  const bool overflows = __builtin_mul_overflow(tensor.numel(), static_cast<int64_t>(tensor.element_size()), &bytes);
  if (overflows || (bytes > stored && bytes > kMaxRepeatedBytes)) {
    return fmt::format("a tensor of shape {} that repeats the {} bytes of its storage", ShapeToString(tensor.sizes()),
                       stored);
  }
  return "";
}

std::string ProblemOf(const at::Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  try {
    return ProblemOfLayout(tensor);
  } catch (const std::exception& error) {
    return fmt::format("a tensor that cannot be read: {}", std::string(error.what()).substr(0, 200));
  }
}

// Empty: nothing; otherwise ": " and what it is, after the path.
std::string Find(const Value& value, int depth) {
  const auto tensor = [](const char* field, const at::Tensor& part) {
    const std::string problem = ProblemOf(part);
    return problem.empty() ? "" : std::string(field) + ": " + problem;
  };
  const auto inner = [depth](const std::string& place, const Value& item) {
    const std::string found = Find(item, depth + 1);
    return found.empty() ? "" : "[" + place + "]" + found;
  };
  if (depth > kMaxValueDepth) return fmt::format(": nested more than {} deep", kMaxValueDepth);
  if (const auto* plain = value.TryAs<Tensor>()) return tensor("", plain->data);
  if (const auto* distributed = value.TryAs<DTensor>()) return tensor(".local", distributed->local);
  if (const auto* sharded = value.TryAs<ShardedTensor>()) {
    for (const LocalShard& shard : sharded->local_shards) {
      if (std::string found = tensor(".local_shards", shard.tensor); !found.empty()) return found;
    }
  } else if (const auto* list = value.TryAs<List>()) {
    for (size_t i = 0; i < list->size(); ++i) {
      if (std::string found = inner(std::to_string(i), (*list)[i]); !found.empty()) return found;
    }
  } else if (const auto* dict = value.TryAs<Dict>()) {
    for (const Dict::Entry& entry : *dict) {
      if (std::string found = inner(ToString(entry.key), entry.value); !found.empty()) return found;
    }
  }
  return "";
}

}  // namespace

std::optional<std::string> FindUnreadable(const Value& value) {
  std::string found = Find(value, 0);
  if (found.empty()) return std::nullopt;
  return found.starts_with(": ") ? found.substr(2) : found;
}

}  // namespace shardcts
