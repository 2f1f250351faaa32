// Reports an unknown name together with the nearest known one. Everything here is *Local*.
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace shardcts {

constexpr size_t kMaxComparedName = 100;  // bytes; the rest of a longer name is neither compared nor printed

// The number of letters that must be added, removed or replaced to turn one name into the other.
inline size_t EditDistance(std::string_view from, std::string_view to) {
  std::vector<size_t> row(to.size() + 1);  // of the first letters of `from` to all beginnings of `to`
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < from.size(); ++i) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < to.size(); ++j) {
      const size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

// The first name with the smallest distance; empty if there are no known names.
inline std::string_view NearestName(std::string_view name, const std::vector<std::string_view>& known) {
  const auto distance = [&](std::string_view other) {
    return EditDistance(name.substr(0, kMaxComparedName), other.substr(0, kMaxComparedName));
  };
  const auto nearest = std::ranges::min_element(known, {}, distance);
  return nearest == known.end() ? std::string_view() : *nearest;
}

// `unknown option "stict"; the nearest known one is "strict"`. `known`: a range of strings. `path` is put in front of
// both names.
template <class Names>
std::string UnknownName(std::string_view what, std::string_view name, const Names& known, std::string_view path = {}) {
  const std::string_view nearest = NearestName(name, {std::begin(known), std::end(known)});
  const auto quoted = [&](std::string_view text) {
    const char* rest = text.size() > kMaxComparedName ? "..." : "";
    return '"' + std::string(path) + std::string(text.substr(0, kMaxComparedName)) + rest + '"';
  };
  return "unknown " + std::string(what) + " " + quoted(name) +
         (nearest.empty() ? "; there are none" : "; the nearest known one is " + quoted(nearest));
}

}  // namespace shardcts
