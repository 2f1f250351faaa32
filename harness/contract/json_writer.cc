#include "contract/json_writer.h"

#include <fmt/format.h>

#include <iterator>
#include <nlohmann/json.hpp>

#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

using Json = nlohmann::json;

// Printable ASCII that no escape is needed for. Looks at every character: a loop without exits takes many at a time.
bool StandsForItself(std::string_view text) {
  bool other = false;
  for (const char c : text) other |= c < ' ' || c > '~' || c == '"' || c == '\\';
  return !other;
}

void AppendString(std::string_view string, std::string& text) {
  if (!StandsForItself(string)) {
    text += Json(string).dump(-1, ' ', false, Json::error_handler_t::replace);
    return;
  }
  text += '"';
  text += string;
  text += '"';
}

}  // namespace

void JsonWriter::Separate() {
  if (after_value_) text_ += ',';
  after_value_ = true;
}

void JsonWriter::Begin(char bracket) {
  Separate();
  text_ += bracket;
  after_value_ = false;
}

void JsonWriter::End(char bracket) {
  text_ += bracket;
  after_value_ = true;
}

void JsonWriter::Plain(std::string_view text) {
  Separate();
  text_ += text;
}

void JsonWriter::Key(std::string_view key) {
  String(key);
  text_ += ':';
  after_value_ = false;
}

void JsonWriter::Int(int64_t value) {
  Separate();
  fmt::format_to(std::back_inserter(text_), "{}", value);
}

void JsonWriter::Double(double value) { Plain(Json(value).dump()); }

void JsonWriter::String(std::string_view value) {
  Separate();
  AppendString(value, text_);
}

void JsonWriter::Base64(std::string_view bytes) {
  Separate();
  text_ += '"';
  AppendBase64(bytes, text_);
  text_ += '"';
}

void JsonWriter::Ints(const std::vector<int64_t>& values) {
  BeginArray();
  for (const int64_t value : values) Int(value);
  EndArray();
}

void JsonWriter::Strings(const std::vector<std::string>& values) {
  BeginArray();
  for (const std::string& value : values) String(value);
  EndArray();
}

}  // namespace shardcts
