// Plan: what one rank pool has to run, as the launcher wrote it (docs/formats.md). *Local*.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "contract/json_codec.h"
#include "run_files/rank_kind.h"

namespace shardcts {

// Which bytes of tensors a recording keeps: none; those of up to 64 KiB and all that an argument brings; all.
enum class TraceData { kDigest, kInline, kFull };

struct Plan {
  std::string label;
  std::string source;                          // "reference", "torch", "python:MODULE:CLASS", "/abs/path.so"
  std::map<std::string, std::string> options;
  std::string device = "cpu";
  std::string mutant;                          // empty: none
  int world_size = 1;
  RankKind rank_kind = RankKind::kProcesses;
  std::string host;                            // the controller's
  int64_t seed = 0;
  TraceData trace = TraceData::kInline;
  std::string run_folder;
  std::string pool_folder;
  std::string trace_folder;
  std::vector<std::string> tests;
  std::vector<std::string> recordings;         // what the trace of each test is called
  std::string script;                          // not empty: run this file instead of tests
};

// Throws InputError naming the file and the place.
Plan ReadPlan(const std::string& path);

}  // namespace shardcts
