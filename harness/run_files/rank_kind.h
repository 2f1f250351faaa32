// RankKind: what the ranks of a pool are.
#pragma once

#include <optional>
#include <string_view>

namespace shardcts {

enum class RankKind {
  kProcesses,
  kThreads,  // of one process, which is all ranks of the pool
};

// As in plan.json, results.json and inventories: "processes", "threads".
inline const char* ToString(RankKind kind) { return kind == RankKind::kThreads ? "threads" : "processes"; }

// nullopt: no kind has this name.
inline std::optional<RankKind> RankKindNamed(std::string_view name) {
  for (const RankKind kind : {RankKind::kProcesses, RankKind::kThreads}) {
    if (name == ToString(kind)) return kind;
  }
  return std::nullopt;
}

}  // namespace shardcts
