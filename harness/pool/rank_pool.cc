#include "pool/rank_pool.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "pool/pool_record.h"
#include "process/event_tail.h"
#include "process/log_limit.h"
#include "process/process.h"
#include "process/stacks.h"
#include "run_files/run_folder.h"
#include "start/warm_process.h"
#include "start/warm_protocol.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr milliseconds kShortestPoll{5};
constexpr milliseconds kLongestPoll{20};
constexpr milliseconds kLogInterval{500};
constexpr milliseconds kFailureGrace{300};  // for the other ranks' pool_failed, and the launcher's own words

// The number of processes that the launcher starts.
int Processes(const PoolPlan& plan) { return plan.rank_kind == RankKind::kThreads ? 1 : plan.world_size; }

std::vector<std::string> LauncherWords(const PoolPlan& plan) {
  std::istringstream stream(plan.launcher);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) {
    const size_t place = word.find("{ranks}");
    if (place != word.npos) word.replace(place, 7, std::to_string(Processes(plan)));
    words.push_back(word);
  }
  if (plan.warm != nullptr) words.push_back(StartProgram(plan.rank_program).string());
  words.insert(words.end(), {plan.rank_program.string(), "--plan", (plan.pool_folder / "plan.json").string()});
  return words;
}

void WritePlan(const PoolPlan& plan) {
  nlohmann::ordered_json json = {
      {"implementation", plan.implementation},
      {"world_size", plan.world_size},
      {"rank_kind", ToString(plan.rank_kind)},
      {"host", HostName()},
      {"seed", plan.seed},
      {"trace", plan.trace},
      {"test_timeout_seconds", static_cast<double>(plan.limits.test.count()) / 1000},
      {"run_folder", plan.run_folder.string()},
      {"pool_folder", plan.pool_folder.string()},
      {"trace_folder", plan.trace_folder.string()},
  };
  if (plan.script.empty()) {
    json["tests"] = plan.tests;
    if (!plan.recordings.empty()) json["recordings"] = plan.recordings;
  } else {
    json["script"] = plan.script.string();
  }
  std::filesystem::create_directories(plan.pool_folder);
  std::filesystem::create_directories(plan.trace_folder);
  WriteFileAtomically(plan.pool_folder / "plan.json", json.dump(1) + "\n");
}

double SecondsSince(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::string SecondsText(milliseconds limit) {
  std::ostringstream text;
  text << static_cast<double>(limit.count()) / 1000 << " s";
  return text.str();
}

// What mpiexec (Hydra) says at the end about how the first process died: "Killed (signal 9)"; empty when it says
// nothing.
std::string ExitStringOf(const std::filesystem::path& launcher_log) {
  std::string found;
  EventTail log(launcher_log);
  const std::string marker = "EXIT STRING: ";
  for (const std::string& line : log.ReadLines()) {
    const size_t place = line.find(marker);
    if (place != line.npos) found = line.substr(place + marker.size());
  }
  return found;
}

class PoolRun {
 public:
  PoolRun(const PoolPlan& plan, const PoolCallbacks& callbacks, const std::atomic<bool>& interrupted)
      : plan_(plan),
        callbacks_(callbacks),
        interrupted_(interrupted),
        record_(plan.tests, plan.world_size),
        watched_(static_cast<size_t>(plan.world_size)),
        bound_to_(static_cast<size_t>(plan.world_size), AllowedProcessors()),
        over_(plan.tests.size(), false) {}

  PoolEnd Run() {
    Start();
    while (!end_) {
      const bool news = ReadEvents();
      BindRanks();
      if (!end_) ReportTestsThatAreOver();
      if (!end_) CheckStart();
      if (!end_) CheckProcesses();
      if (!end_) CheckDeadlines();
      LimitLogs();
      if (!end_ && interrupted_) EndWith(PoolEnd::Kind::kInterrupted, "interrupted");
      if (!end_) WaitForNews(news);
    }
    if (end_->kind == PoolEnd::Kind::kFinished) AwaitExit();
    KillEverything();
    end_->start_seconds = start_seconds_;
    end_->implementation = record_.ranks().front().implementation;
    end_->warm = std::ranges::all_of(record_.ranks(), &RankState::warm);
    return *end_;
  }

 private:
  void Start() {
    WritePlan(plan_);
    std::map<std::string, std::string> environment = PoolEnvironment(token_);
    if (plan_.warm != nullptr) environment[kWarmSocketName] = plan_.warm->socket();
    for (int rank = 0; rank < plan_.world_size; ++rank) tails_.emplace_back(EventFile(plan_.pool_folder, rank));
    begin_ = Clock::now();
    launcher_ = std::make_unique<ChildProcess>(ProcessCommand{LauncherWords(plan_), environment, LauncherLog()});
  }

  std::filesystem::path LauncherLog() const { return plan_.pool_folder / "launcher.log"; }

  void EndWith(PoolEnd::Kind kind, const std::string& reason) {
    PoolEnd end;
    end.kind = kind;
    end.reason = reason;
    end.implementation_failed = kind == PoolEnd::Kind::kStartFailed && std::ranges::any_of(record_.ranks(), [](const RankState& rank) {
      return rank.loading && !rank.ready && !rank.failed_kind;
    });
    end_ = end;
  }

  // True when an event was read.
  bool ReadEvents() {
    bool news = false;
    for (int rank = 0; rank < plan_.world_size; ++rank) {
      for (const std::string& line : tails_[static_cast<size_t>(rank)].ReadLines()) {
        news = true;
        try {
          record_.Apply(rank, line);
        } catch (const ProtocolError& error) {
          BreakAt(rank, Verdict::kHarnessError, error.what());
          return true;
        }
        NoteProcess(static_cast<size_t>(rank));
      }
    }
    NoteRunning();
    return news;
  }

  void NoteProcess(size_t rank) {
    const RankState& state = record_.ranks()[rank];
    if (state.started && !watched_[rank] && state.host == host_) watched_[rank].emplace(state.pid);
  }

  void BindRanks() {
    if (!plan_.processors) return;
    const Processors now = plan_.processors();
    for (size_t rank = 0; rank < watched_.size(); ++rank) {
      if (!watched_[rank] || bound_to_[rank] == now) continue;
      BindProcess(watched_[rank]->pid(), now);
      bound_to_[rank] = now;
    }
  }

  void NoteRunning() {
    if (!start_seconds_ && record_.AllReady()) {
      start_seconds_ = SecondsSince(begin_);
      idle_since_ = Clock::now();
      if (callbacks_.on_ready) callbacks_.on_ready(record_.ranks().front().implementation);
    }
    const std::optional<size_t> running = record_.Running();
    if (running == running_) return;
    running_ = running;
    running_since_ = idle_since_ = Clock::now();
    stopped_since_.reset();
    if (running_ && callbacks_.on_test_started) callbacks_.on_test_started(*running_);
  }

  void ReportOver(size_t test, const std::optional<Incident>& incident) {
    over_[test] = true;
    double seconds = 0;
    for (const RankReport& report : record_.Reports(test)) seconds = std::max(seconds, report.seconds);
    if (incident && running_ == test) seconds = SecondsSince(running_since_);
    callbacks_.on_test_over(test, record_.Reports(test), incident, seconds);
  }

  void ReportTestsThatAreOver() {
    for (; next_ < over_.size() && record_.LeftByAll(next_); ++next_) {
      if (!over_[next_]) ReportOver(next_, std::nullopt);
    }
    if (next_ == over_.size() && record_.AllPoolFinished()) EndWith(PoolEnd::Kind::kFinished, "");
  }

  void CheckStart() {
    if (record_.FailedRank()) {
      AwaitOtherFailures();
      const RankState& rank = record_.ranks()[static_cast<size_t>(*record_.FailedRank())];
      EndWith(rank.failed_kind == "input" ? PoolEnd::Kind::kInputError : PoolEnd::Kind::kStartFailed,
              rank.failed_message);
    } else if (!start_seconds_ && Clock::now() - begin_ > plan_.limits.start) {
      EndWith(PoolEnd::Kind::kStartFailed,
              "ranks were not ready within " + SecondsText(plan_.limits.start) + LastLogLine(SlowestRank()));
    }
  }

  int SlowestRank() const {
    for (size_t rank = 0; rank < watched_.size(); ++rank) {
      if (!record_.ranks()[rank].ready) return static_cast<int>(rank);
    }
    return 0;
  }

  // A peer's failure follows from the first one; the rank that names wrong input may be a little later.
  void AwaitOtherFailures() {
    for (const auto until = Clock::now() + kFailureGrace; Clock::now() < until && !end_;) {
      const int failed = *record_.FailedRank();
      if (record_.ranks()[static_cast<size_t>(failed)].failed_kind == "input") return;
      ::poll(nullptr, 0, static_cast<int>(kShortestPoll.count()));
      ReadEvents();
    }
    end_.reset();
  }

  std::vector<int> DeadRanks() const {
    std::vector<int> dead;
    for (size_t rank = 0; rank < watched_.size(); ++rank) {
      const bool here = watched_[rank].has_value();
      if (here ? watched_[rank]->HasEnded() : record_.ranks()[rank].ended) dead.push_back(static_cast<int>(rank));
    }
    return dead;
  }

  void CheckProcesses() {
    const std::vector<int> dead = DeadRanks();
    const bool launcher_ended = launcher_->Poll().has_value();
    if (dead.empty() && !launcher_ended) return;
    ReadEvents();  // what they wrote before they ended
    if (end_ || record_.FailedRank()) return;
    ReportTestsThatAreOver();
    if (end_) return;
    std::vector<int> lost;
    for (int rank : dead) {
      if (!record_.ranks()[static_cast<size_t>(rank)].pool_finished) lost.push_back(rank);
    }
    if (!lost.empty() || launcher_ended) EndWithLoss(lost);
  }

  void EndWithLoss(std::vector<int> lost) {
    const std::optional<int> status = launcher_->Wait(kFailureGrace);
    if (const std::optional<std::string> how = plan_.warm ? plan_.warm->HowItEnded() : std::nullopt) {
      BreakAt(-1, Verdict::kHarnessError, "the warm process ended and its ranks with it: " + *how);
      return;
    }
    // Warm ranks are tried cold before the launcher is found wrong.
    if (plan_.warm == nullptr && std::ranges::none_of(record_.ranks(), &RankState::started)) {
      EndWith(PoolEnd::Kind::kInputError, DescribeLauncherFailure());
      return;
    }
    for (size_t rank = 0; rank < watched_.size(); ++rank) {
      if (record_.ranks()[rank].crashed_signal) lost = {static_cast<int>(rank)};
    }
    const std::string reason = DescribeLoss(lost, status);
    BreakAt(lost.size() == 1 ? lost.front() : -1, Verdict::kCrash, reason);
  }

  std::string DescribeLauncherFailure() const {
    const std::optional<int> status = launcher_->Wait(kFailureGrace);
    return "the launcher \"" + plan_.launcher + "\" ended " + (status ? "with " + DescribeStatus(*status) + " " : "") +
           "before any rank had started" + LastLogLine(-1);
  }

  std::string DescribeLoss(const std::vector<int>& lost, const std::optional<int>& status) const {
    std::string who = lost.empty() ? "the launcher" : lost.size() == 1 ? "rank" : "one of ranks";
    for (int rank : lost) who += (rank == lost.front() ? " " : ", ") + std::to_string(rank);
    const int rank = lost.size() == 1 ? lost.front() : -1;
    std::string how;
    if (rank >= 0 && record_.ranks()[static_cast<size_t>(rank)].crashed_signal) {
      how = DescribeStatus(*record_.ranks()[static_cast<size_t>(rank)].crashed_signal);
    } else if (const std::string exit_string = ExitStringOf(LauncherLog()); !exit_string.empty()) {
      how = exit_string;
    } else if (status) {
      how = "the launcher ended with " + DescribeStatus(*status);
    }
    return who + " ended without finishing its tests" + (how.empty() ? "" : ": " + how) + LastLogLine(rank);
  }

  std::string LastLogLine(int rank) const {
    const int process = std::min(rank, Processes(plan_) - 1);  // ranks that are threads have one log
    const std::string line = LastLine(rank < 0 ? LauncherLog() : RankLog(plan_.pool_folder, process));
    return line.empty() ? "" : "; last log line: " + line;
  }

  // The test that `culprit` ran last gets the verdict. When it cannot be told (-1), the test that the farthest rank
  // runs: what the others had not left runs again.
  void BreakAt(int culprit, Verdict verdict, const std::string& reason) {
    if (!start_seconds_ && !record_.StartedByAny(0)) {
      EndWith(PoolEnd::Kind::kStartFailed, reason);
      return;
    }
    EndWith(PoolEnd::Kind::kBroken, reason);
    const std::optional<size_t> victim = LastStarted(culprit);
    if (!victim || over_[*victim]) return;
    const bool finished = culprit >= 0 ? record_.Reports(*victim)[static_cast<size_t>(culprit)].finished
                                       : record_.FinishedByAll(*victim);
    ReportOver(*victim, Incident{verdict, culprit, finished ? "after the test had finished: " + reason : reason});
  }

  // By this rank; -1: by any rank.
  std::optional<size_t> LastStarted(int only) const {
    std::optional<size_t> last;
    for (size_t rank = 0; rank < watched_.size(); ++rank) {
      if (only < 0 || only == static_cast<int>(rank)) last = std::max(last, record_.ranks()[rank].last_started);
    }
    return last;
  }

  void CheckDeadlines() {
    if (!start_seconds_) return;
    if (!running_) {
      if (Clock::now() - idle_since_ > plan_.limits.test) {
        EndWith(PoolEnd::Kind::kBroken, "no rank started a test within " + SecondsText(plan_.limits.test));
      }
      return;
    }
    const std::optional<int> stopper = record_.RankThatStopped(*running_);
    if (stopper && !stopped_since_) stopped_since_ = Clock::now();
    if (stopper && Clock::now() - *stopped_since_ > plan_.limits.stop_peers && !record_.FinishedByAll(*running_)) {
      EndStuckPeers(*stopper);
    } else if (Clock::now() - running_since_ > plan_.limits.test) {
      EndHang();
    }
  }

  void EndStuckPeers(int stopper) {
    const std::string reason = "did not stop within " + SecondsText(plan_.limits.stop_peers) + " after rank " +
                               std::to_string(stopper) + " had ended the test; killed";
    record_.AbortUnfinished(*running_, reason);
    ReportOver(*running_, std::nullopt);
    EndWith(PoolEnd::Kind::kBroken, "ranks " + reason);
  }

  // The ranks that have not finished the running test; when all have, those that have not left it.
  std::vector<int> StuckRanks() const {
    const bool finished = record_.FinishedByAll(*running_);
    std::vector<int> stuck;
    for (size_t rank = 0; rank < watched_.size(); ++rank) {
      const RankState& state = record_.ranks()[rank];
      const bool left = state.pool_finished || (state.last_started && *state.last_started > *running_);
      const bool back = finished ? left : record_.Reports(*running_)[rank].finished;
      if (!back) stuck.push_back(static_cast<int>(rank));
    }
    return stuck;
  }

  void EndHang() {
    const std::vector<int> stuck = StuckRanks();
    std::string who = stuck.size() == 1 ? "rank" : "ranks";
    for (int rank : stuck) who += " " + std::to_string(rank);
    const std::string when = record_.FinishedByAll(*running_) ? "after the test had finished: " : "";
    std::string reason =
        when + who + " did not come back within " + SecondsText(plan_.limits.test) + LastLogLine(stuck.front());
    if (const std::string stacks = StacksOfAllRanks(); !stacks.empty()) reason += "; " + stacks;
    ReportOver(*running_, Incident{Verdict::kHang, stuck.size() == 1 ? stuck.front() : -1, reason});
    EndWith(PoolEnd::Kind::kBroken, reason);
  }

  // Of the processes on this host; their logs get them whole.
  std::string StacksOfAllRanks() const {
    std::vector<StuckRank> ranks;
    for (size_t rank = 0; rank < static_cast<size_t>(Processes(plan_)); ++rank) {
      if (!watched_[rank] || watched_[rank]->HasEnded()) continue;
      const int number = static_cast<int>(rank);
      ranks.push_back(
          {number, watched_[rank]->pid(), record_.ranks()[rank].stack_signal, RankLog(plan_.pool_folder, number)});
    }
    return TakeStacks(ranks, plan_.limits.stacks);
  }

  void LimitLogs() {
    if (Clock::now() - logs_limited_ < kLogInterval) return;
    logs_limited_ = Clock::now();
    LimitLog(LauncherLog());
    for (int rank = 0; rank < Processes(plan_); ++rank) LimitLog(RankLog(plan_.pool_folder, rank));
  }

  // Sleeps until a process ends or the poll interval is over: short after news, growing while there is none.
  void WaitForNews(bool news) {
    interval_ = news ? kShortestPoll : std::min(kLongestPoll, interval_ + milliseconds(1));
    std::vector<pollfd> descriptors;
    for (size_t rank = 0; rank < watched_.size(); ++rank) {
      const bool live = watched_[rank] && !record_.ranks()[rank].pool_finished;
      if (live) descriptors.push_back({watched_[rank]->descriptor(), POLLIN, 0});
    }
    ::poll(descriptors.data(), descriptors.size(), static_cast<int>(interval_.count()));
  }

  void AwaitExit() {
    for (const auto until = Clock::now() + plan_.limits.finish; Clock::now() < until && !interrupted_;) {
      if (launcher_->Wait(kLongestPoll)) break;
    }
    const std::optional<int> status = launcher_->Poll();
    if (!status) {
      end_->reason = "ranks did not end within " + SecondsText(plan_.limits.finish) + " after their last test";
    } else if (*status != 0) {
      const std::string exit_string = ExitStringOf(LauncherLog());
      end_->reason =
          "ranks ended badly after their last test: " + (exit_string.empty() ? DescribeStatus(*status) : exit_string);
    }
  }

  void KillEverything() {
    if (!launcher_->Poll()) launcher_->SignalGroup(SIGTERM);
    const std::vector<pid_t> left = EndProcessesWithEnvironment(kPoolTokenName, token_, plan_.limits.terminate);
    if (!launcher_->Wait(plan_.limits.terminate)) launcher_->SignalGroup(SIGKILL);
    launcher_->Wait(milliseconds(2000));
    logs_limited_ = {};
    LimitLogs();
    if (!left.empty()) end_->reason += "; process " + std::to_string(left.front()) + " could not be killed";
  }

  const PoolPlan& plan_;
  const PoolCallbacks& callbacks_;
  const std::atomic<bool>& interrupted_;
  const std::string token_ = MakePoolToken();
  const std::string host_ = HostName();
  PoolRecord record_;
  std::vector<EventTail> tails_;
  std::vector<std::optional<WatchedProcess>> watched_;  // ranks of this host
  std::vector<Processors> bound_to_;                    // by rank
  std::unique_ptr<ChildProcess> launcher_;
  std::vector<bool> over_;
  size_t next_ = 0;                                     // tests before it are over
  std::optional<size_t> running_;
  std::optional<double> start_seconds_;
  std::optional<Clock::time_point> stopped_since_;      // a rank ended the running test early
  Clock::time_point begin_, running_since_, idle_since_;
  Clock::time_point logs_limited_;
  milliseconds interval_ = kShortestPoll;
  std::optional<PoolEnd> end_;
};

}  // namespace

PoolEnd RunPool(const PoolPlan& plan, const PoolCallbacks& callbacks, const std::atomic<bool>& interrupted) {
  return PoolRun(plan, callbacks, interrupted).Run();
}

}  // namespace shardcts
