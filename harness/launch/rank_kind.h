// RankKind: what the ranks of a pool are.
#pragma once

namespace shardcts {

enum class RankKind {
  kProcesses,
  kThreads,  // of one process, which is all ranks of the pool
};

// As in plan.json, results.json and inventories: "processes", "threads".
inline const char* ToString(RankKind kind) { return kind == RankKind::kThreads ? "threads" : "processes"; }

}  // namespace shardcts
