#include "fsdp/options.h"

#include <utility>

namespace shardcts::reference {
namespace {

constexpr std::pair<ShardingStrategy, const char*> kNames[] = {
    {ShardingStrategy::kFullShard, "FULL_SHARD"},
    {ShardingStrategy::kShardGradOp, "SHARD_GRAD_OP"},
    {ShardingStrategy::kNoShard, "NO_SHARD"},
    {ShardingStrategy::kHybridShard, "HYBRID_SHARD"},
    {ShardingStrategy::kHybridShardZero2, "_HYBRID_SHARD_ZERO2"},
};

}  // namespace

std::string NameOf(ShardingStrategy strategy) {
  for (const auto& [known, name] : kNames) {
    if (known == strategy) return name;
  }
  return "";
}

std::optional<ShardingStrategy> ParseShardingStrategy(const std::string& text) {
  for (const auto& [known, name] : kNames) {
    if (text == name) return known;
  }
  return std::nullopt;
}

}  // namespace shardcts::reference
