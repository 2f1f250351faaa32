// JSON from a file that nobody vouches for: bounded depth, no key twice, and access that says where it failed. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts::reference {

// Objects find a key in logarithmic time, whoever wrote the file.
using FileJson = nlohmann::json;

inline constexpr int kMaxJsonDepth = 100;

// RuntimeError beginning with `what`: no JSON, deeper than kMaxJsonDepth, a key twice in an object. Time and memory are
// linear in the text, apart from a logarithm.
FileJson ParseUntrusted(std::string_view text, const std::string& what);

// A place in such a text.
struct UntrustedPlace {
  const FileJson* json;
  std::string where;  // `checkpoint.json: tensors: "a"`

  [[noreturn]] void Fail(const std::string& problem) const;  // RuntimeError
  UntrustedPlace At(const std::string& key) const;           // of an object that has exactly such a key
  const std::string& Text() const;
  int64_t Number() const;                 // an integer that fits
  std::vector<int64_t> Numbers() const;   // at most 64 integers
  void ForEach(const std::function<void(const std::string& key, const UntrustedPlace&)>& visit) const;  // of an object
  std::vector<UntrustedPlace> Elements() const;  // of an array
};

}  // namespace shardcts::reference
