// Fields of events, which are untrusted: their limits and types are checked. *Local*.
//
// All throw std::runtime_error saying what is wrong, or nlohmann's exceptions.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

#include "run_files/foreign_text.h"

namespace shardcts {

// The text, cut to `max_bytes`; empty when it is absent.
std::string TextField(const nlohmann::ordered_json& event, const char* key, size_t max_bytes = kMaxMessageBytes);

// 0 to 2^31 - 1.
int64_t CountOf(const nlohmann::ordered_json& number);

// Finite, not negative.
double SecondsOf(const nlohmann::ordered_json& number);

// A list or object, each entry of which is kept; `none`, which says the kind, when it is absent.
const nlohmann::ordered_json& EntriesOf(const nlohmann::ordered_json& event, const char* key,
                                        const nlohmann::ordered_json& none, size_t most = kMaxEntries);

// A key of an object that is kept: at most kMaxNameBytes.
const std::string& BoundedKey(const std::string& key);

}  // namespace shardcts
