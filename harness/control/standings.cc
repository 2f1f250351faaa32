#include <algorithm>
#include <map>
#include <tuple>

#include "control/hub.h"

namespace shardcts {
namespace {

std::string InOperation(const RankStanding& standing) {
  return standing.operation.substr(0, kMaxNoteBytes) + " (step " + std::to_string(standing.step) + ")";
}

// After "rank 3 " or "ranks 0, 1 ".
std::string WhatItDoes(const RankStanding& standing, bool several) {
  const std::string waits = several ? "wait for their peers" : "waits for its peers";
  if (!standing.waits) return standing.operation.empty() ? "" : "in " + InOperation(standing);
  switch (*standing.waits) {
    case Together::kOperation: return waits + " before " + InOperation(standing);
    case Together::kEnd: return waits + " at the end of the test";
    case Together::kAllGather: return waits + " to exchange values";
    case Together::kSubgroup: return waits + " before some ranks go on alone";
    case Together::kRendezvous: return waits + " to make a communicator";
  }
  return "";
}

}  // namespace

std::string DescribeStandings(const std::vector<RankStanding>& standings) {
  std::map<std::string, std::vector<size_t>> groups;  // by what they do
  for (size_t rank = 0; rank < standings.size(); ++rank) {
    const std::string does = WhatItDoes(standings[rank], false);
    if (!does.empty()) groups[does].push_back(rank);
  }
  std::vector<std::tuple<bool, size_t, std::string>> parts;  // those that do not wait first, then by the first rank
  for (const auto& [does, ranks] : groups) {
    std::string who = ranks.size() == 1 ? "rank " : "ranks ";
    for (const size_t rank : ranks) who += (rank == ranks.front() ? "" : ", ") + std::to_string(rank);
    const RankStanding& first = standings[ranks.front()];
    parts.emplace_back(first.waits.has_value(), ranks.front(), who + " " + WhatItDoes(first, ranks.size() > 1));
  }
  std::ranges::sort(parts);
  std::string text;
  for (const auto& [waits, first, part] : parts) text += (text.empty() ? "" : ", ") + part;
  for (size_t rank = 0; rank < standings.size(); ++rank) {
    for (const std::string& error : standings[rank].errors) {
      text += (text.empty() ? "" : "; ") + ("rank " + std::to_string(rank)) + " raised " + error;
    }
  }
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

}  // namespace shardcts
