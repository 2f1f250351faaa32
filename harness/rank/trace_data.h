// Which bytes of tensors a recording keeps (`--trace`). *Local*.
#pragma once

#include <string_view>

namespace shardcts {

enum class TraceData {
  kDigest,  // none
  kInline,  // those of up to 64 KiB, and all that an argument brings
  kFull,    // all
};

// "digest", "inline", "full": the plan's reader has refused anything else.
inline TraceData TraceDataNamed(std::string_view name) {
  if (name == "digest") return TraceData::kDigest;
  return name == "full" ? TraceData::kFull : TraceData::kInline;
}

}  // namespace shardcts
