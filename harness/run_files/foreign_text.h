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

// The text itself when it has no more than `max_bytes`. Otherwise its beginning, cut between two characters, and how
// long it was: never more than `max_bytes` and 40.
std::string Bounded(std::string text, size_t max_bytes = kMaxMessageBytes);

}  // namespace shardcts
