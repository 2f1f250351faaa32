#include "recording/json_text.h"

#include <fmt/format.h>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr int kMaxDepth = 256;

bool IsTooDeep(const std::string& text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    if (depth > kMaxDepth) return true;
  }
  return false;
}

}  // namespace

Json ParseJsonText(const std::string& text, const std::string& place) {
  if (IsTooDeep(text)) throw InputError(fmt::format("{}: nested more than {} deep", place, kMaxDepth));
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) throw InputError(place + ": not JSON");
  return json;
}

}  // namespace shardcts
