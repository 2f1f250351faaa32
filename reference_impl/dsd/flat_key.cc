#include "dsd/flat_key.h"

#include <charconv>
#include <optional>

namespace shardcts::reference {
namespace {

// nullopt: not what FlatComponent writes for an int.
std::optional<int64_t> IntFrom(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || std::to_string(value) != text) return std::nullopt;
  return value;
}

// Reads a component in quotes, which begins at `at`; `at` is then behind it.
std::string Unquoted(std::string_view text, size_t& at) {
  std::string read;
  for (++at; at < text.size() && text[at] != '"'; ++at) {
    if (text[at] == '\\' && at + 1 < text.size()) ++at;
    read += text[at];
  }
  if (at < text.size()) ++at;
  return read;
}

}  // namespace

std::string FlatComponent(const Key& key) {
  if (const auto* id = std::get_if<int64_t>(&key)) return std::to_string(*id);
  const auto& text = std::get<std::string>(key);
  if (!text.empty() && text.find_first_of(".\"") == std::string::npos && !IntFrom(text)) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return quoted + '"';
}

std::vector<Key> FlatComponents(std::string_view text) {
  std::vector<Key> components;
  for (size_t at = 0; at <= text.size(); ++at) {  // from behind one dot to the next
    if (at < text.size() && text[at] == '"') {
      components.emplace_back(Unquoted(text, at));
      continue;
    }
    const size_t end = std::min(text.find('.', at), text.size());
    const std::string_view part = text.substr(at, end - at);
    const std::optional<int64_t> id = IntFrom(part);
    components.push_back(id ? Key(*id) : Key(std::string(part)));
    at = end;
  }
  return components;
}

}  // namespace shardcts::reference
