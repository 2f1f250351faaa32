#include "results/toml_entries.h"

#include <algorithm>
#include <vector>

#include "contract/nearest_name.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr size_t kMaxKeyParts = 100;
const std::vector<std::string_view> kKinds{"waiver", "difference"};

std::string PlaceIn(const std::string& file, size_t line) { return file + ":" + std::to_string(line); }

// The parser makes a table inside a table for each part of a key, and calls itself to end them.
void RequireShortKeys(const std::string& text, const std::string& file_name) {
  size_t line = 1;
  size_t parts = 1;
  char quote = 0;
  bool comment = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      ++line, parts = 1, quote = 0, comment = false;
    } else if (quote != 0) {
      if (c == '\\' && quote == '"') ++i;
      if (c == quote) quote = 0;
    } else if (!comment) {
      if (c == '"' || c == '\'') quote = c;
      comment = c == '#';
      if (c == '.' && ++parts > kMaxKeyParts) throw InputError(PlaceIn(file_name, line) + ": a key of more than 100 parts");
    }
  }
}

}  // namespace

std::string Quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

toml::table ParseToml(const std::string& text, const std::string& file_name) {
  RequireShortKeys(text, file_name);
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    throw InputError(PlaceIn(file_name, error.source().begin.line) + ": " + std::string(error.description()));
  }
}

void ForEachEntry(const toml::table& document, const std::string& file_name, std::string_view kind,
                  const std::function<void(const toml::table&)>& visit) {
  for (const auto& [key, value] : document) {
    const std::string place = PlaceIn(file_name, value.source().begin.line);
    if (std::ranges::find(kKinds, key.str()) == kKinds.end()) {
      throw InputError(place + ": " + UnknownName("field", key.str(), kKinds));
    }
    if (!value.is_array_of_tables()) {
      throw InputError(place + ": " + std::string(key.str()) + "s are written as [[" + std::string(key.str()) + "]]");
    }
    if (key.str() != kind) continue;
    for (const toml::node& element : *value.as_array()) visit(*element.as_table());
  }
}

std::string TomlEntry::Place(const toml::node& node) const { return PlaceIn(file_, node.source().begin.line); }

void TomlEntry::Fail(const toml::node& node, const std::string& problem) const {
  throw InputError(Place(node) + ": " + problem);
}

void TomlEntry::CheckFields(const std::set<std::string_view>& required,
                            const std::set<std::string_view>& optional) const {
  std::vector<std::string_view> known(required.begin(), required.end());
  known.insert(known.end(), optional.begin(), optional.end());
  for (const auto& [key, value] : table_) {
    if (std::ranges::find(known, key.str()) == known.end()) Fail(value, UnknownName("field", key.str(), known));
  }
  for (std::string_view key : required) {
    if (!table_.contains(key)) Fail(table_, "field " + Quoted(key) + " is missing");
  }
}

std::string TomlEntry::Text(std::string_view key) const {
  const toml::node* node = table_.get(key);
  if (!node) return "";
  const std::string* text = node->is_string() ? &node->as_string()->get() : nullptr;
  const bool blank = !text || text->find_first_not_of(" \t\r\n") == text->npos;
  if (blank) Fail(*node, Quoted(key) + " must be a text that is not empty");
  if (text->find('\n') != text->npos) Fail(*node, Quoted(key) + " must be one line");
  const size_t longest = key == "reason" || key == "evidence" ? kMaxMessageBytes : kMaxNameBytes;
  if (text->size() > longest) Fail(*node, Quoted(key) + " is longer than " + std::to_string(longest) + " bytes");
  return *text;
}

std::optional<VersionRange> TomlEntry::Versions() const {
  const std::string text = Text("versions");
  if (text.empty()) return std::nullopt;
  const std::optional<VersionRange> range = VersionRange::Parse(text);
  if (!range) Fail(*table_.get("versions"), Quoted(text) + " is no range of versions such as \">=2.13, <2.15\"");
  return range;
}

}  // namespace shardcts
