// JSON as text, written as it comes, without a tree of it: traces hold the data of thousands of tensors. *Local*.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

// Appends one JSON value to a text, on one line, as json.dump() would write it. Separators are its own affair; that keys
// and values alternate in objects, and that what begins ends, is the caller's.
class JsonWriter {
 public:
  // `text` must live as long as the writer.
  explicit JsonWriter(std::string& text) : text_(text) {}

  void BeginObject() { Begin('{'); }
  void EndObject() { End('}'); }
  void BeginArray() { Begin('['); }
  void EndArray() { End(']'); }
  void Key(std::string_view key);

  void Null() { Plain("null"); }
  void Bool(bool value) { Plain(value ? "true" : "false"); }
  void Int(int64_t value);
  void Double(double value);           // what is no number becomes null, as in the library
  void String(std::string_view value);  // what is not UTF-8 is replaced
  void Base64(std::string_view bytes);

  void Ints(const std::vector<int64_t>& values);
  void Strings(const std::vector<std::string>& values);

 private:
  void Separate();
  void Begin(char bracket);
  void End(char bracket);
  void Plain(std::string_view text);

  std::string& text_;
  bool after_value_ = false;
};

}  // namespace shardcts
