// Merging the traces of a test's ranks into one script. Formats: docs/formats.md, "Traces and scripts". *Local*.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace shardcts {

struct TraceHeader {
  std::string implementation;  // label
  std::string test;
  int world_size = 1;
  uint64_t seed = 0;
};

// Reads TRACE_FOLDER/RECORDING/rank-R.jsonl line by line and writes TRACE_FOLDER/RECORDING.json; memory is a few lines
// per rank. A line without its end, or that is no whole object with a step, ends that rank's trace and marks the
// script `"truncated": true`; what its values are is not read. Returns false, and writes nothing, when no rank has a trace.
bool MergeTraces(const std::filesystem::path& trace_folder, const std::string& recording, const TraceHeader& header);

}  // namespace shardcts
