#include "pool/loss.h"

#include <sys/wait.h>

#include <algorithm>

#include "process/process.h"
#include "start/rank_processes.h"

namespace shardcts {
namespace {

bool HasLeft(const RankEnd& rank) {
  return rank.status && WIFEXITED(*rank.status) && WEXITSTATUS(*rank.status) == kPeerGoneExitCode;
}

// Because a peer was gone: not the first.
bool FollowedAPeer(const RankEnd& rank) {
  return !rank.lost && (rank.left || HasLeft(rank));
}

std::vector<int> Culprits(const std::vector<RankEnd>& ranks, const std::vector<std::vector<int>>& lost_in_order) {
  std::vector<int> ended, first;
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].crashed_signal) return {static_cast<int>(rank)};
    if (!ranks[rank].ended || ranks[rank].done) continue;
    ended.push_back(static_cast<int>(rank));
    if (!FollowedAPeer(ranks[rank])) first.push_back(static_cast<int>(rank));
  }
  for (std::vector<int> lost : lost_in_order) {  // at the same time, for all that is known
    std::erase_if(lost, [&](int rank) { return std::ranges::count(first, rank) == 0; });
    std::ranges::sort(lost);
    if (!lost.empty()) return lost;
  }
  return first.empty() ? ended : first;
}

std::string Listing(const std::vector<int>& ranks) {
  std::string text = ranks.size() == 1 ? "rank" : "one of ranks";
  for (const int rank : ranks) text += (rank == ranks.front() ? " " : ", ") + std::to_string(rank);
  return text;
}

std::string HowItEnded(const RankEnd& rank) {
  if (rank.crashed_signal) return ": " + DescribeStatus(*rank.crashed_signal);
  return rank.status ? ": " + DescribeStatus(*rank.status) : "";
}

std::string HowTheyEnded(const std::vector<RankEnd>& ranks, const std::vector<int>& which) {
  std::string text;
  for (const int rank : which) {
    const std::string how = HowItEnded(ranks[static_cast<size_t>(rank)]);
    if (!how.empty()) text += (text.empty() ? ": rank " : ", rank ") + std::to_string(rank) + how;
  }
  return text;
}

}  // namespace

Incident ExplainLoss(const std::vector<RankEnd>& ranks, const std::vector<std::vector<int>>& lost_in_order,
                     const std::optional<std::string>& support_ended) {
  const bool told = std::ranges::any_of(ranks, [](const RankEnd& rank) { return rank.crashed_signal.has_value(); });
  if (support_ended && !told) return {Verdict::kHarnessError, -1, *support_ended};
  const auto failed = std::ranges::find_if(ranks, [](const RankEnd& rank) { return !rank.failure.empty(); });
  if (failed != ranks.end() && !told) {
    const int rank = static_cast<int>(failed - ranks.begin());
    return {Verdict::kHarnessError, rank, "rank " + std::to_string(rank) + " could not go on: " + failed->failure};
  }
  const std::vector<int> culprits = Culprits(ranks, lost_in_order);
  const bool all_orphaned =
      std::ranges::all_of(culprits, [&](int rank) { return ranks[static_cast<size_t>(rank)].orphaned; });
  if (all_orphaned && !culprits.empty() && !told) {
    return {Verdict::kHarnessError, -1,
            "the process that had started " + Listing(culprits) + " ended, and the rank with it"};
  }
  if (culprits.size() != 1) {
    return {Verdict::kCrash, -1, Listing(culprits) + " ended without finishing its tests" + HowTheyEnded(ranks, culprits)};
  }
  const int culprit = culprits.front();
  const RankEnd& rank = ranks[static_cast<size_t>(culprit)];
  const std::string name = Listing(culprits);
  if (rank.lost && !rank.crashed_signal && (rank.alive || HasLeft(rank))) {
    const std::string code = HasLeft(rank) ? HowItEnded(rank) : "";
    return {Verdict::kCrash, culprit, name + " cannot be reached any more: " + *rank.lost + code};
  }
  return {Verdict::kCrash, culprit, name + " ended without finishing its tests" + HowItEnded(rank)};
}

}  // namespace shardcts
