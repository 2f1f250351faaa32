#include "run_files/json_members.h"

#include <algorithm>

namespace shardcts {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  void SkipSpace() { at_ = std::min(text_.find_first_not_of(kSpace, at_), text_.size()); }
  bool AtEnd() const { return at_ == text_.size(); }
  bool Take(char wanted) {
    SkipSpace();
    if (AtEnd() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }

  std::optional<std::string_view> TakeString() {
    if (!Take('"')) return std::nullopt;
    const size_t begin = at_;
    if (!SkipToEndOfString()) return std::nullopt;
    return text_.substr(begin, at_ - begin - 1);
  }

  std::optional<std::string_view> TakeValue() {
    SkipSpace();
    const size_t begin = at_;
    for (int depth = 0; !AtEnd(); ++at_) {
      const char c = text_[at_];
      const bool closes = c == '}' || c == ']';
      if (depth == 0 && (closes || c == ',')) break;
      if (c == '{' || c == '[') ++depth;
      if (closes) --depth;
      if (c == '"') {
        ++at_;
        if (!SkipToEndOfString()) return std::nullopt;
        --at_;  // the quote
      }
    }
    if (AtEnd() || at_ == begin) return std::nullopt;
    const std::string_view value = text_.substr(begin, at_ - begin);
    return value.substr(0, value.find_last_not_of(kSpace) + 1);
  }

 private:
  // From within a string to behind its closing quote.
  bool SkipToEndOfString() {
    const size_t begin = at_;
    for (size_t quote = text_.find('"', at_); quote != text_.npos; quote = text_.find('"', quote + 1)) {
      size_t first_escape = quote;
      while (first_escape > begin && text_[first_escape - 1] == '\\') --first_escape;
      at_ = quote + 1;
      if ((quote - first_escape) % 2 == 0) return true;
    }
    return false;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

std::optional<JsonMembers> SplitJsonObject(std::string_view text) {
  Scanner scanner(text);
  if (!scanner.Take('{')) return std::nullopt;
  JsonMembers members;
  while (members.empty() ? !scanner.Take('}') : scanner.Take(',')) {
    const auto name = scanner.TakeString();
    if (!name || !scanner.Take(':')) return std::nullopt;
    const auto value = scanner.TakeValue();
    if (!value) return std::nullopt;
    members.emplace_back(*name, *value);
  }
  if (!members.empty() && !scanner.Take('}')) return std::nullopt;
  scanner.SkipSpace();
  if (!scanner.AtEnd()) return std::nullopt;
  return members;
}

}  // namespace shardcts
