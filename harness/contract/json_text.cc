#include "contract/json_text.h"

#include <string_view>

namespace shardcts {
namespace {

std::string Dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Printable ASCII that no escape is needed for. Looks at every character: a loop without exits takes many at a time.
bool StandsForItself(std::string_view text) {
  bool other = false;
  for (const char c : text) other |= c < ' ' || c > '~' || c == '"' || c == '\\';
  return !other;
}

void AppendString(const std::string& string, std::string& text) {
  if (!StandsForItself(string)) {
    text += Dump(string);
    return;
  }
  text += '"';
  text += string;
  text += '"';
}

}  // namespace

void AppendJson(const Json& json, std::string& text) {
  const char* separator = "";
  if (json.is_object()) {
    text += '{';
    for (const auto& [key, value] : json.items()) {
      text += separator;
      AppendString(key, text);
      text += ':';
      AppendJson(value, text);
      separator = ",";
    }
    text += '}';
  } else if (json.is_array()) {
    text += '[';
    for (const Json& item : json) {
      text += separator;
      AppendJson(item, text);
      separator = ",";
    }
    text += ']';
  } else if (json.is_string()) {
    AppendString(json.get_ref<const std::string&>(), text);
  } else {
    text += Dump(json);
  }
}

}  // namespace shardcts
