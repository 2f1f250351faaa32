// Files whose entries are [[waiver]] and [[difference]]: TOML that nobody vouches for (docs/formats.md, "Waivers"). *Local*.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include <toml++/toml.h>

#include "results/version_range.h"

namespace shardcts {

std::string Quoted(std::string_view text);

// InputError, "FILE:LINE: problem", for text that is not TOML, or nested too deeply.
toml::table ParseToml(const std::string& text, const std::string& file_name);

// Each [[KIND]] of the document. InputError for a field that is no kind, and for one that is no list of tables.
void ForEachEntry(const toml::table& document, const std::string& file_name, std::string_view kind,
                  const std::function<void(const toml::table&)>& visit);

// One table of a file. Every error is an InputError, "FILE:LINE: problem".
class TomlEntry {
 public:
  // Both must outlive this.
  TomlEntry(const std::string& file, const toml::table& table) : file_(file), table_(table) {}

  const std::string& file() const { return file_; }
  const toml::table& table() const { return table_; }
  std::string Place() const { return Place(table_); }
  [[noreturn]] void Fail(const toml::node& node, const std::string& problem) const;

  // Every required field is there, and no other than these.
  void CheckFields(const std::set<std::string_view>& required, const std::set<std::string_view>& optional) const;

  // One line of text that is not blank; "" when it is not there.
  std::string Text(std::string_view key) const;

  // The field "versions"; nothing when it is not there.
  std::optional<VersionRange> Versions() const;

 private:
  std::string Place(const toml::node& node) const;

  const std::string& file_;
  const toml::table& table_;
};

}  // namespace shardcts
