#include "run_files/foreign_text.h"

#include <algorithm>
#include <cstdint>
#include <set>

namespace shardcts {
namespace {

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Bytes of the character that begins with `c`; 0: none does.
size_t CharacterBytes(unsigned char c) {
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c < 0xE0) return 2;
  if (c >= 0xE0 && c < 0xF0) return 3;
  return c >= 0xF0 && c < 0xF5 ? 4 : 0;
}

// No overlong form, no surrogate, nothing beyond U+10FFFF.
bool IsAllowed(unsigned char first, unsigned char second) {
  if (first == 0xE0) return second >= 0xA0;
  if (first == 0xED) return second < 0xA0;
  if (first == 0xF0) return second >= 0x90;
  return first != 0xF4 || second < 0x90;
}

// Empty: the text does not begin with a character of UTF-8.
std::string_view FirstCharacter(std::string_view text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const size_t bytes = CharacterBytes(first);
  if (bytes == 0 || bytes > text.size()) return {};
  for (size_t k = 1; k < bytes; ++k) {
    if (!IsContinuation(text[k])) return {};
  }
  if (bytes > 2 && !IsAllowed(first, static_cast<unsigned char>(text[1]))) return {};
  return text.substr(0, bytes);
}

// C0 and C1, ends of lines and paragraphs, and what changes the direction of writing.
bool Controls(std::string_view character) {
  static const std::set<std::string_view> kOthers = {
      "\u061C", "\u200E", "\u200F", "\u2028", "\u2029", "\u202A", "\u202B", "\u202C",
      "\u202D", "\u202E", "\u2066", "\u2067", "\u2068", "\u2069", "\uFEFF"};
  const auto first = static_cast<unsigned char>(character[0]);
  const bool c1 = first == 0xC2 && static_cast<unsigned char>(character[1]) < 0xA0;
  return first < 0x20 || first == 0x7F || c1 || kOthers.contains(character);
}

// Before, with a few words added to it since.
bool WasCut(const std::string& text, size_t max_bytes) {
  constexpr size_t kAddedBytes = 400;
  constexpr size_t kMarkBytes = 40;
  return text.size() <= max_bytes + kAddedBytes && text.size() > kMarkBytes && text.ends_with(" bytes)") &&
         text.find("… (", text.size() - kMarkBytes) != text.npos;
}

}  // namespace

bool IsUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = FirstCharacter(text.substr(at)).size();
    if (bytes == 0) return false;
    at += bytes;
  }
  return true;
}

std::string Beginning(const std::string& text, size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  size_t end = max_bytes;
  while (end > 0 && max_bytes - end < 4 && IsContinuation(text[end])) --end;
  return text.substr(0, end);
}

std::string OneLine(const std::string& text) {
  const std::string_view rest = text;
  std::string line;
  for (size_t at = 0; at < text.size();) {
    const std::string_view character = FirstCharacter(rest.substr(at));
    if (character == "\n" || character == "\r" || character == "\t") {
      line += ' ';
    } else if (character.empty() || Controls(character)) {
      line += '?';
    } else {
      line += character;
    }
    at += std::max<size_t>(character.size(), 1);
  }
  return line;
}

std::string Bounded(std::string text, size_t max_bytes) {
  if (text.size() <= max_bytes || WasCut(text, max_bytes)) return text;
  return Beginning(text, max_bytes) + "… (" + std::to_string(text.size()) + " bytes)";
}

}  // namespace shardcts
