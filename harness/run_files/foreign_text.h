// Limits of texts that come from outside: from an implementation, an event file, a command line. *Local*.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace shardcts {

constexpr size_t kMaxNameBytes = 1000;       // names, labels, ids, versions
constexpr size_t kMaxMessageBytes = 65'536;  // messages, reasons, notes
constexpr size_t kMaxEntries = 1000;         // lists of such texts

bool IsUtf8(std::string_view text);

// Its first bytes, at most so many, cut between two characters.
std::string Beginning(const std::string& text, size_t max_bytes);

// As one line of a terminal: ends of lines and tabs are spaces; what else moves the cursor, changes colours or the
// direction of writing, and bytes that are not UTF-8, are '?'.
std::string OneLine(const std::string& text);

// The text itself when it has no more than `max_bytes`. Otherwise its beginning of at most `max_bytes`, cut between two
// characters, and how long it was. A text that was cut is not cut again when up to 400 bytes were added to it.
std::string Bounded(std::string text, size_t max_bytes = kMaxMessageBytes);

}  // namespace shardcts
