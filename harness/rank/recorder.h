// Recorder: writes the operations of one test on one rank as a trace (docs/formats.md). *Local*.
#pragma once

#include <fstream>
#include <optional>
#include <set>
#include <string>

#include "contract/json_codec.h"

namespace shardcts {

class Recorder {
 public:
  // Throws std::runtime_error when the file cannot be written.
  Recorder(const std::string& path, TraceData data);

  // Encodes the arguments before the operation may change them.
  // `among`: some ranks only run this collective operation.
  void Begin(int64_t step, std::string_view operation, const Dict& arguments, bool among);
  void End(const Outcome& outcome, double seconds);

 private:
  std::ofstream file_;
  std::string path_;
  TraceData data_;
  std::set<std::string> written_;
  std::string line_;
  std::optional<JsonWriter> json_;  // of the line, between Begin and End
};

}  // namespace shardcts
