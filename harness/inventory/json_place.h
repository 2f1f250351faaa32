// A JSON value with its position, so that every error names file and JSON pointer. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace shardcts {

struct JsonPlace {
  const nlohmann::ordered_json* json;
  std::string file;
  std::string pointer;  // "/tests/0/id"; empty: the complete text

  // Throws InputError "FILE: POINTER: problem", as all functions below do when the value is another one.
  [[noreturn]] void Fail(const std::string& problem) const;

  JsonPlace At(const std::string& key) const { return {&json->at(key), file, pointer + "/" + key}; }
  bool Has(const std::string& key) const { return json->contains(key); }
  JsonPlace Member(const std::string& key) const;  // must be there

  const JsonPlace& Require(nlohmann::ordered_json::value_t type, const char* name) const;
  const JsonPlace& Object() const;
  std::string Text() const;
  int WorldSize() const;  // 1 … 4096
  int Rank() const;       // 0 … 4095
  std::vector<JsonPlace> Elements() const;
  std::vector<std::string> Texts() const;
  std::vector<int> WorldSizes() const;  // at least one
};

}  // namespace shardcts
