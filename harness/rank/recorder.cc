#include "rank/recorder.h"

#include <filesystem>
#include <stdexcept>

namespace shardcts {

Recorder::Recorder(const std::string& path, TraceData data) : path_(path), data_(data) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  file_.open(path, std::ios::trunc);
  if (!file_) throw std::runtime_error(path + ": cannot be written");
}

void Recorder::Begin(int64_t step, std::string_view operation, const Dict& arguments, bool among) {
  // Arguments that are no earlier result must be there in full, or the recording could not be replayed.
  const TraceData data = data_ == TraceData::kInline ? TraceData::kFull : data_;
  line_.clear();
  JsonWriter& json = json_.emplace(line_);
  json.BeginObject();
  json.Key("step");
  json.Int(step);
  json.Key("op");
  json.String(operation);
  if (among) {
    json.Key("among");
    json.Bool(true);
  }
  json.Key("args");
  Encode(Value(arguments), json, {.data = data, .references = true, .written = &written_});
}

void Recorder::End(const Outcome& outcome, double seconds) {
  JsonWriter& json = *json_;
  json.Key("outcome");
  EncodeOutcome(outcome, json, {.data = data_, .written = &written_});
  json.Key("warnings");
  json.BeginArray();
  for (const Warning& warning : outcome.warnings) {
    json.BeginObject();
    json.Key("category");
    json.String(warning.category);
    json.Key("message");
    json.String(warning.message);
    json.EndObject();
  }
  json.EndArray();
  json.Key("seconds");
  json.Double(seconds);
  json.EndObject();
  line_ += '\n';
  file_ << line_ << std::flush;
  if (!file_) throw std::runtime_error(path_ + ": write failed");
}

}  // namespace shardcts
