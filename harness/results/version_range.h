// VersionRange: which versions of an implementation something is said of: ">=2.13, <2.15". *Local*.
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <vector>

namespace shardcts {

// The numbers at the beginning: "2.13.0+cpu" -> 2, 13. Trailing zeros do not count. Empty: it begins with none.
std::vector<int> VersionNumbers(const std::string& version);

class VersionRange {
 public:
  // Bounds with <, <=, >, >= or ==, separated by commas; each names numbers with dots between them. Nothing for any
  // other text, and for one in which no version can be.
  static std::optional<VersionRange> Parse(const std::string& text);

  // Whether every bound holds. A version that begins with no number is in no range.
  bool Contains(const std::string& version) const;

  // Whether a version can be in both.
  bool Overlaps(const VersionRange& other) const;

  // Whether it ends somewhere: by <, <= or ==.
  bool HasUpperBound() const;

  // As it was parsed.
  const std::string& Text() const { return text_; }

 private:
  struct Bound {
    std::string relation;
    std::vector<int> version;
  };

  static std::optional<Bound> ParseBound(std::string text);
  static bool Holds(const Bound& bound, const std::vector<int>& version);
  bool IsPossible() const;

  std::string text_;
  std::vector<Bound> bounds_;
};

}  // namespace shardcts
