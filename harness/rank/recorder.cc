#include "rank/recorder.h"

#include <filesystem>
#include <stdexcept>

#include "contract/json_text.h"

namespace shardcts {

Recorder::Recorder(const std::string& path, TraceData data) : path_(path), data_(data) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  file_.open(path, std::ios::trunc);
  if (!file_) throw std::runtime_error(path + ": cannot be written");
}

void Recorder::Begin(int64_t step, std::string_view operation, const Dict& arguments, bool among) {
  // Arguments that are no earlier result must be there in full, or the recording could not be replayed.
  const TraceData data = data_ == TraceData::kInline ? TraceData::kFull : data_;
  line_ = {{"step", step}, {"op", operation}};
  if (among) line_["among"] = true;
  line_["args"] = Encode(Value(arguments), {.data = data, .references = true, .written = &written_});
}

void Recorder::End(const Outcome& outcome, double seconds) {
  line_["outcome"] = EncodeOutcome(outcome, {.data = data_, .written = &written_});
  Json warnings = Json::array();
  for (const Warning& warning : outcome.warnings) {
    warnings.push_back({{"category", warning.category}, {"message", warning.message}});
  }
  line_["warnings"] = warnings;
  line_["seconds"] = seconds;
  std::string text;
  AppendJson(line_, text);
  file_ << text << '\n' << std::flush;
  if (!file_) throw std::runtime_error(path_ + ": write failed");
}

}  // namespace shardcts
