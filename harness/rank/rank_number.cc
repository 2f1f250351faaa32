#include "rank/rank_number.h"

#include <charconv>
#include <cstdlib>
#include <cstring>

namespace shardcts {
namespace {

struct Names {
  const char* rank;
  const char* world_size;
};
constexpr Names kLaunchers[] = {{"PMI_RANK", "PMI_SIZE"},
                                {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                                {"PMIX_RANK", "PMIX_SIZE"},
                                {"SLURM_PROCID", "SLURM_NTASKS"}};

std::optional<int> NumberIn(const char* name) {
  const char* text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  int number = -1;
  const char* end = text + std::strlen(text);
  const auto [stopped, error] = std::from_chars(text, end, number);
  return error == std::errc() && stopped == end && number >= 0 ? std::optional(number) : std::nullopt;
}

}  // namespace

std::optional<RankNumber> RankNumberOfLauncher() {
  for (const Names& names : kLaunchers) {
    if (const std::optional<int> rank = NumberIn(names.rank)) return RankNumber{*rank, NumberIn(names.world_size)};
  }
  return std::nullopt;
}

}  // namespace shardcts
