// Recorder: writes the operations of one test on one rank as a trace (docs/formats.md). *Local*.
#pragma once

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "contract/json_codec.h"
#include "rank/trace_data.h"
#include "recording/blobs.h"
#include "run_files/plan.h"

namespace shardcts {

class Recorder {
 public:
  // `header`: the trace's first line. `test_folder`: which the trace calls "${folder}"; empty: none. Throws
  // std::runtime_error when the file cannot be written.
  Recorder(const std::filesystem::path& file, const std::filesystem::path& blob_folder, TraceData data,
           const Json& header, std::string test_folder = "");

  // Encodes the arguments before the operation may change them.
  // `among`: only a subgroup of the ranks runs this collective operation.
  void Begin(int64_t step, std::string_view operation, const Dict& arguments, bool among);
  void End(const Outcome& outcome, double seconds);

 private:
  EncodeOptions Options(bool arguments);
  Json InBlobWhereLarge(Json value);
  void WriteLine(const Json& line);

  std::filesystem::path path_;
  std::ofstream file_;
  BlobStore blobs_;
  TraceData data_;
  const std::string test_folder_;
  Json line_;  // between Begin and End
};

// Of this rank, for the index-th test of the plan, or for its script (0).
std::unique_ptr<Recorder> MakeRecorder(const Plan& plan, size_t index, int64_t seed, int rank);

}  // namespace shardcts
