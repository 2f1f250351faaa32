// Reads JSON files that are not trusted: scripts, recordings, results, plans. *Local*, needs no LibTorch.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

namespace shardcts {

inline constexpr uintmax_t kMaxJsonFileBytes = uintmax_t{1} << 30;
inline constexpr size_t kMaxJsonDepth = 500;  // objects and lists inside one another

// Throws InputError, one line: "FILE: cannot be read", "FILE: larger than N bytes", "FILE: line L, column C: not JSON"
// or "…: truncated" when the text ends too early. Lines and columns count from 1, columns in bytes. An object that
// has a key twice: "FILE: steps[3].args: key "x" stands twice". Numbers that a double cannot hold, and more than
// kMaxJsonDepth levels, are errors too.
nlohmann::ordered_json ReadJsonFile(const std::filesystem::path& file, uintmax_t max_bytes = kMaxJsonFileBytes);
// The same of a text, whose `name` the errors begin with.
nlohmann::ordered_json ParseJson(const std::string& text, const std::filesystem::path& name);

}  // namespace shardcts
