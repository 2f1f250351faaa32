#include "contract/placement.h"

#include <charconv>
#include <numeric>

namespace shardcts {
namespace {

bool ParseInt(std::string_view text, int64_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

// The text between "PREFIX(" and ")", or nullopt.
std::optional<std::string_view> Inside(std::string_view text, std::string_view prefix) {
  if (text.size() < prefix.size() + 2 || !text.starts_with(prefix) || text[prefix.size()] != '(' ||
      text.back() != ')') {
    return std::nullopt;
  }
  return text.substr(prefix.size() + 1, text.size() - prefix.size() - 2);
}

}  // namespace

std::optional<Placement> Placement::Parse(std::string_view text) {
  if (text == "R") return Replicate();
  if (auto inside = Inside(text, "P"); inside && !inside->empty()) return Partial(std::string(*inside));
  int64_t dim = 0;
  if (auto inside = Inside(text, "S"); inside && ParseInt(*inside, &dim)) return Shard(dim);
  if (auto inside = Inside(text, "_S")) {
    const size_t comma = inside->find(',');
    int64_t split_factor = 0;
    if (comma != std::string_view::npos && ParseInt(inside->substr(0, comma), &dim) &&
        ParseInt(inside->substr(comma + 1), &split_factor) && split_factor > 0) {
      return StridedShard(dim, split_factor);
    }
  }
  return std::nullopt;
}

std::string Placement::ToString() const {
  switch (kind) {
    case Kind::kShard: return "S(" + std::to_string(dim) + ")";
    case Kind::kReplicate: return "R";
    case Kind::kPartial: return "P(" + reduce_op + ")";
    case Kind::kStridedShard: return "_S(" + std::to_string(dim) + "," + std::to_string(split_factor) + ")";
  }
  return "?";
}

std::string ToString(const std::vector<Placement>& placements) {
  std::string text = "[";
  for (size_t i = 0; i < placements.size(); ++i) text += (i ? ", " : "") + placements[i].ToString();
  return text + "]";
}

int64_t MeshLayout::Size() const {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

std::optional<std::vector<int64_t>> MeshLayout::Coordinate(int64_t rank) const {
  for (size_t flat = 0; flat < ranks.size(); ++flat) {
    if (ranks[flat] != rank) continue;
    std::vector<int64_t> coordinate(shape.size());
    int64_t rest = static_cast<int64_t>(flat);
    for (size_t d = shape.size(); d-- > 0;) {
      coordinate[d] = rest % shape[d];
      rest /= shape[d];
    }
    return coordinate;
  }
  return std::nullopt;
}

std::string MeshLayout::ToString() const {
  std::string text = device_type + "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? "x" : "") + std::to_string(shape[i]);
  for (size_t i = 0; i < dim_names.size(); ++i) text += (i ? "," : " ") + dim_names[i];
  return text + ")";
}

}  // namespace shardcts
