#include "storage/utf8.h"

namespace shardcts::reference {
namespace {

// The character at the beginning, and how many bytes it has; 0: none that is well-formed.
size_t DecodeFirst(std::string_view text, uint32_t& character) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(0);
  if (first < 0x80) return character = first, 1;
  const size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
  if (first < 0xc2 || first > 0xf4 || text.size() < length) return 0;
  character = first & (0x7f >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    character = character << 6 | (byte(i) & 0x3f);
  }
  static constexpr uint32_t kLowest[] = {0, 0, 0x80, 0x800, 0x10000};
  if (character < kLowest[length] || character > 0x10ffff || (character >= 0xd800 && character < 0xe000)) return 0;
  return length;
}

}  // namespace

bool IsUtf8(std::string_view text) {
  uint32_t character = 0;
  while (!text.empty()) {
    const size_t length = DecodeFirst(text, character);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::string Utf8OfLatin1(std::string_view bytes) {
  std::string text;
  for (const char one : bytes) {
    const auto byte = static_cast<uint8_t>(one);
    if (byte < 0x80) {
      text += one;
    } else {
      text += static_cast<char>(0xc0 | byte >> 6);
      text += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return text;
}

bool Latin1OfUtf8(std::string_view text, std::string& bytes) {
  uint32_t character = 0;
  bytes.clear();
  while (!text.empty()) {
    const size_t length = DecodeFirst(text, character);
    if (length == 0 || character > 0xff) return false;
    bytes += static_cast<char>(character);
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace shardcts::reference
