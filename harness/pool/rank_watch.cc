#include "pool/rank_watch.h"

#include <poll.h>

#include "process/log_limit.h"
#include "process/orphans.h"
#include "process/pool_temporaries.h"
#include "process/stacks.h"
#include "run_files/run_folder.h"
#include "start/warm_process.h"

namespace shardcts {
namespace {

constexpr std::chrono::milliseconds kLogInterval{500};

}  // namespace

using std::chrono::milliseconds;

RankWatch::RankWatch(const PoolPlan& plan)
    : plan_(plan),
      record_(plan.plan.tests, plan.plan.world_size, plan.plan.phases),
      watched_(static_cast<size_t>(plan.plan.world_size)),
      bound_to_(watched_.size(), AllowedProcessors()) {}

void RankWatch::Start() {
  AdoptOrphans();
  Plan plan = plan_.plan;
  plan.host = host_;
  plan.launched = !plan_.launcher.empty();
  plan.test_timeout_seconds = static_cast<double>(plan_.limits.test.count()) / 1000;
  WritePlan(plan);
  MakePoolTemporaries(token_);
  hub_ = std::make_unique<ControlHub>(ControlHub::Options{plan.world_size, plan.pool_folder, plan.launched,
                                                          plan_.control_address});
  for (int rank = 0; rank < plan.world_size; ++rank) tails_.emplace_back(EventFile(plan.pool_folder, rank));
  if (plan_.UsesLauncher()) {
    processes_ = LaunchRanks(plan_.LauncherWords(), plan_.rank_program, plan, token_);
  } else if (plan_.warm != nullptr) {
    processes_ = ForkWarmRanks(plan_.warm, plan, token_);
  } else {
    processes_ = StartColdRanks(plan_.rank_program, plan, token_);
  }
  for (int rank = 0; rank < plan.world_size; ++rank) {
    if (const std::optional<pid_t> pid = processes_->PidOf(rank)) watched_[static_cast<size_t>(rank)].emplace(*pid);
  }
}

std::string RankWatch::End() {
  const milliseconds grace = plan_.limits.terminate;
  const std::string left = processes_ != nullptr ? processes_->End(token_, grace) : EndByToken(token_, grace);
  if (processes_ != nullptr) LimitLogs();
  RemovePoolTemporaries(token_);
  return left;
}

bool RankWatch::ReadEvents() {
  bool news = false;
  for (size_t rank = 0; rank < tails_.size(); ++rank) {
    reading_ = static_cast<int>(rank);
    for (const std::string& line : tails_[rank].ReadLines()) {
      news = true;
      record_.Apply(reading_, line);
      NoteProcess(rank);
    }
  }
  return news;
}

void RankWatch::NoteProcess(size_t rank) {
  const RankState& state = record_.ranks()[rank];
  if (!state.started || watched_[rank] || state.host != host_) return;
  watched_[rank].emplace(state.pid);
}

void RankWatch::BindRanks() {
  if (!plan_.processors) return;
  const Processors now = plan_.processors();
  for (size_t rank = 0; rank < watched_.size(); ++rank) {
    if (!watched_[rank] || bound_to_[rank] == now) continue;
    BindProcess(watched_[rank]->pid(), now);
    bound_to_[rank] = now;
  }
}

void RankWatch::LimitLogs() {
  logs_limited_ = std::chrono::steady_clock::now();
  if (!processes_->log().empty()) LimitLog(processes_->log());
  for (int rank = 0; rank < plan_.plan.world_size; ++rank) LimitLog(RankLog(plan_.plan.pool_folder, rank));
}

void RankWatch::Wait(milliseconds limit) {
  if (std::chrono::steady_clock::now() - logs_limited_ > kLogInterval) LimitLogs();
  std::vector<pollfd> descriptors = {{hub_->news(), POLLIN, 0}};
  for (size_t rank = 0; rank < watched_.size(); ++rank) {
    const bool live = watched_[rank] && !record_.ranks()[rank].pool_finished;
    if (live) descriptors.push_back({watched_[rank]->descriptor(), POLLIN, 0});
  }
  const int ready = ::poll(descriptors.data(), descriptors.size(), static_cast<int>(limit.count()));
  if (ready > 0 && descriptors.front().revents != 0) hub_->Standings();  // so that the same news end no further sleep
}

std::vector<bool> RankWatch::EndedRanks() {
  std::vector<bool> ended;
  for (const auto& process : watched_) ended.push_back(process && process->HasEnded());
  // Asked for after the processes: the hub knows of a rank that is gone before its peers do.
  const std::vector<RankStanding> standings = hub_->Standings();
  for (size_t rank = 0; rank < ended.size(); ++rank) ended[rank] = ended[rank] || standings[rank].lost.has_value();
  return ended;
}

bool RankWatch::IsAlive(int rank) const {
  const auto& process = watched_[static_cast<size_t>(rank)];
  return process && !process->HasEnded();
}

std::string RankWatch::LastLogLine(int rank) const {
  const std::filesystem::path log = rank < 0 ? processes_->log() : RankLog(plan_.plan.pool_folder, rank);
  const std::string line = log.empty() ? "" : LastLine(log);
  return line.empty() ? "" : "; last log line: " + line;
}

std::string RankWatch::DescribeStuckRanks(milliseconds limit) {
  std::string text = DescribeStandings(hub_->Standings());
  std::vector<StuckRank> ranks;
  for (size_t rank = 0; rank < watched_.size(); ++rank) {
    const int number = static_cast<int>(rank);
    if (!IsAlive(number)) continue;
    ranks.push_back({number, watched_[rank]->pid(), record_.ranks()[rank].stack_signal,
                     RankLog(plan_.plan.pool_folder, number)});
  }
  const std::string stacks = TakeStacks(ranks, limit);
  return text + (text.empty() || stacks.empty() ? "" : "; ") + stacks;
}

}  // namespace shardcts
