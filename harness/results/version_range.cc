#include "results/version_range.h"

#include <algorithm>
#include <charconv>

namespace shardcts {
namespace {

constexpr std::string_view kRelations[] = {"<=", ">=", "==", "<", ">"};  // the longer ones first

std::string WithoutSpaces(std::string text) {
  std::erase(text, ' ');
  return text;
}

bool IsVersion(const std::string& text) {
  return !text.empty() && text.size() <= 100 && text.find_first_not_of("0123456789.") == text.npos &&
         text.find("..") == text.npos && !text.starts_with('.') && !text.ends_with('.');
}

}  // namespace

std::vector<int> VersionNumbers(const std::string& version) {
  std::vector<int> numbers;
  const char* end = version.data() + version.size();
  for (const char* at = version.data(); at < end;) {
    int number = 0;
    const auto parsed = std::from_chars(at, end, number);
    if (parsed.ec != std::errc()) break;
    numbers.push_back(number);
    if (parsed.ptr == end || *parsed.ptr != '.') break;
    at = parsed.ptr + 1;
  }
  while (!numbers.empty() && numbers.back() == 0) numbers.pop_back();
  return numbers;
}

std::optional<VersionRange> VersionRange::Parse(const std::string& text) {
  VersionRange range;
  range.text_ = text;
  const std::string dense = WithoutSpaces(text);
  for (size_t begin = 0; begin <= dense.size();) {
    const size_t comma = std::min(dense.find(',', begin), dense.size());
    const std::optional<Bound> bound = ParseBound(dense.substr(begin, comma - begin));
    if (!bound) return std::nullopt;
    range.bounds_.push_back(*bound);
    begin = comma + 1;
  }
  if (!range.IsPossible()) return std::nullopt;
  return range;
}

std::optional<VersionRange::Bound> VersionRange::ParseBound(std::string text) {
  for (std::string_view relation : kRelations) {
    if (!text.starts_with(relation)) continue;
    const std::string version = text.substr(relation.size());
    if (!IsVersion(version)) return std::nullopt;
    return Bound{std::string(relation), VersionNumbers(version)};
  }
  return std::nullopt;
}

bool VersionRange::Holds(const Bound& bound, const std::vector<int>& version) {
  const auto order = version <=> bound.version;
  if (bound.relation == "==") return order == 0;
  if (order == 0) return bound.relation == "<=" || bound.relation == ">=";
  return bound.relation.starts_with('<') == (order < 0);
}

// A range of bounds has a version if one at a bound, or one just beside it, is in it.
bool VersionRange::IsPossible() const {
  const auto fits = [&](const std::vector<int>& version) {
    return std::ranges::all_of(bounds_, [&](const Bound& bound) { return Holds(bound, version); });
  };
  return std::ranges::any_of(bounds_, [&](const Bound& bound) {
    std::vector<int> above = bound.version;
    above.insert(above.end(), {0, 1});
    return fits(bound.version) || fits(above) || fits({});
  });
}

bool VersionRange::Contains(const std::string& version) const {
  const std::vector<int> numbers = VersionNumbers(version);
  return !numbers.empty() &&
         std::ranges::all_of(bounds_, [&](const Bound& bound) { return Holds(bound, numbers); });
}

bool VersionRange::Overlaps(const VersionRange& other) const {
  VersionRange both = *this;
  both.bounds_.insert(both.bounds_.end(), other.bounds_.begin(), other.bounds_.end());
  return both.IsPossible();
}

bool VersionRange::HasUpperBound() const {
  return std::ranges::any_of(bounds_, [](const Bound& bound) { return !bound.relation.starts_with('>'); });
}

}  // namespace shardcts
