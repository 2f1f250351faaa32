#include "start/rank_processes.h"

#include <sys/wait.h>

#include <algorithm>
#include <iterator>
#include <sstream>
#include <utility>
#include <vector>

#include "process/orphans.h"
#include "process/process.h"
#include "run_files/run_folder.h"
#include "start/warm_process.h"

namespace shardcts {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kReapLimit{2'000};

std::string ThatIsLeft(const std::vector<pid_t>& left) {
  return left.empty() ? "" : "process " + std::to_string(left.front()) + " could not be killed";
}

// Ranks whose wait status is known.
class LocalRanks : public RankProcesses {
 public:
  explicit LocalRanks(int ranks) : ranks_(ranks) {}

  std::optional<std::string> AllEnded() override {
    std::string bad;
    for (int rank = 0; rank < ranks_; ++rank) {
      const std::optional<int> status = StatusOf(rank);
      if (!status) return std::nullopt;
      if (*status != 0 && bad.empty()) bad = "rank " + std::to_string(rank) + ": " + DescribeStatus(*status);
    }
    return bad;
  }

 private:
  const int ranks_;
};

class WarmRanks : public LocalRanks {
 public:
  WarmRanks(std::shared_ptr<WarmProcess> warm, const Plan& plan, const std::string& token)
      : LocalRanks(plan.world_size),
        warm_(std::move(warm)),
        pids_(warm_->Fork(PlanFile(plan.pool_folder), plan.world_size, token)) {}

  std::optional<pid_t> PidOf(int rank) const override { return pids_.at(static_cast<size_t>(rank)); }
  std::optional<int> StatusOf(int rank) override {
    const std::optional<int> status = warm_->StatusOf(pids_.at(static_cast<size_t>(rank)));
    if (status || !warm_->HowItEnded()) return status;
    return SIGKILL;  // which the kernel sends with the end of the warm process
  }
  std::optional<std::string> SupportEnded() override {
    const std::optional<std::string> how = warm_->HowItEnded();
    return how ? std::optional("the warm process ended and its ranks with it: " + *how) : std::nullopt;
  }
  std::string End(const std::string& token, milliseconds grace) override {
    const std::string left = EndByToken(token, grace);
    const std::string orphans = ThatIsLeft(warm_->EndOrphans(pids_, grace));
    return left.empty() ? orphans : left;
  }

 private:
  const std::shared_ptr<WarmProcess> warm_;
  const std::vector<pid_t> pids_;
};

class ColdRanks : public LocalRanks {
 public:
  ColdRanks(const std::filesystem::path& rank_program, const Plan& plan, const std::string& token)
      : LocalRanks(plan.world_size) {
    for (int rank = 0; rank < plan.world_size; ++rank) {
      ProcessCommand command{
          {rank_program.string(), "--plan", PlanFile(plan.pool_folder).string(), "--rank", std::to_string(rank)},
          PoolEnvironment(token),
          RankLog(plan.pool_folder, rank)};
      command.signal_at_controllers_end = SIGKILL;
      ranks_.push_back(std::make_unique<ChildProcess>(command));
    }
  }

  std::optional<pid_t> PidOf(int rank) const override { return ranks_.at(static_cast<size_t>(rank))->pid(); }
  std::optional<int> StatusOf(int rank) override { return ranks_.at(static_cast<size_t>(rank))->Poll(); }
  std::optional<std::string> SupportEnded() override { return std::nullopt; }
  std::string End(const std::string& token, milliseconds grace) override {
    const std::string left = EndByToken(token, grace);
    for (const auto& rank : ranks_) rank->Wait(kReapLimit);
    return left;
  }

 private:
  std::vector<std::unique_ptr<ChildProcess>> ranks_;
};

std::vector<std::string> LauncherWords(const std::string& launcher, int ranks) {
  std::istringstream stream(launcher);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) {
    const size_t begin = word.find("{ranks}");
    if (begin != word.npos) word.replace(begin, 7, std::to_string(ranks));
    words.push_back(word);
  }
  return words;
}

class LaunchedRanks : public RankProcesses {
 public:
  LaunchedRanks(const std::string& launcher, const std::filesystem::path& rank_program, const Plan& plan,
                const std::string& token)
      : log_(plan.pool_folder / "launcher.log") {
    std::vector<std::string> words = LauncherWords(launcher, plan.world_size);
    words.insert(words.end(), {rank_program.string(), "--plan", PlanFile(plan.pool_folder).string()});
    launcher_ = std::make_unique<ChildProcess>(ProcessCommand{words, PoolEnvironment(token), log_});
  }

  std::optional<pid_t> PidOf(int rank) const override { return std::nullopt; }
  std::optional<int> StatusOf(int rank) override { return std::nullopt; }
  std::optional<std::string> SupportEnded() override {
    const std::optional<int> status = launcher_->Poll();
    return status ? std::optional("the launcher ended with " + DescribeStatus(*status)) : std::nullopt;
  }
  std::optional<std::string> AllEnded() override {
    const std::optional<int> status = launcher_->Poll();
    if (!status) return std::nullopt;
    return *status == 0 ? "" : "the launcher: " + DescribeStatus(*status);
  }
  std::filesystem::path log() const override { return log_; }
  std::string End(const std::string& token, milliseconds grace) override {
    if (!launcher_->Poll()) launcher_->SignalGroup(SIGTERM);
    const std::string left = EndByToken(token, grace);
    if (!launcher_->Wait(grace)) launcher_->SignalGroup(SIGKILL);
    launcher_->Wait(kReapLimit);
    return left;
  }

 private:
  const std::filesystem::path log_;
  std::unique_ptr<ChildProcess> launcher_;
};

}  // namespace

std::string EndByToken(const std::string& token, milliseconds grace) {
  std::vector<pid_t> left = EndAll([&] { return ProcessesWithEnvironment(kPoolTokenName, token); }, grace);
  std::ranges::copy(EndAdoptedOrphans(grace), std::back_inserter(left));
  return ThatIsLeft(left);
}

std::unique_ptr<RankProcesses> ForkWarmRanks(std::shared_ptr<WarmProcess> warm, const Plan& plan,
                                             const std::string& token) {
  return std::make_unique<WarmRanks>(std::move(warm), plan, token);
}

std::unique_ptr<RankProcesses> StartColdRanks(const std::filesystem::path& rank_program, const Plan& plan,
                                              const std::string& token) {
  return std::make_unique<ColdRanks>(rank_program, plan, token);
}

std::unique_ptr<RankProcesses> LaunchRanks(const std::string& launcher, const std::filesystem::path& rank_program,
                                           const Plan& plan, const std::string& token) {
  return std::make_unique<LaunchedRanks>(launcher, rank_program, plan, token);
}

}  // namespace shardcts
