// *Local*.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace shardcts::reference {

// Well-formed, without surrogates and overlong forms.
bool IsUtf8(std::string_view text);

// Latin-1: each byte is the character of this number.
std::string Utf8OfLatin1(std::string_view bytes);
// The other way round, of well-formed UTF-8; false: a character beyond 255.
bool Latin1OfUtf8(std::string_view text, std::string& bytes);

}  // namespace shardcts::reference
