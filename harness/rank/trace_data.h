// How the plan names what traces hold of tensors. *Local*.
#pragma once

#include <string_view>

#include "contract/json_codec.h"

namespace shardcts {

// "digest", "inline", "full": the plan's reader has refused anything else.
inline TraceData TraceDataNamed(std::string_view name) {
  if (name == "digest") return TraceData::kDigest;
  return name == "full" ? TraceData::kFull : TraceData::kInline;
}

}  // namespace shardcts
