#include "run_files/foreign_text.h"

#include <cstdint>

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
    const auto first = static_cast<unsigned char>(text[at]);
    const size_t bytes = CharacterBytes(first);
    if (bytes == 0 || bytes > text.size() - at) return false;
    for (size_t k = 1; k < bytes; ++k) {
      if (!IsContinuation(text[at + k])) return false;
    }
    if (bytes > 2 && !IsAllowed(first, static_cast<unsigned char>(text[at + 1]))) return false;
    at += bytes;
  }
  return true;
}

std::string Bounded(std::string text, size_t max_bytes) {
  if (text.size() <= max_bytes || WasCut(text, max_bytes)) return text;
  size_t end = max_bytes;
  while (end > 0 && max_bytes - end < 4 && IsContinuation(text[end])) --end;
  const std::string size = std::to_string(text.size());
  text.resize(end);
  return text + "… (" + size + " bytes)";
}

}  // namespace shardcts
