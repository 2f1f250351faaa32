#include "pool/rank_pool.h"

#include <algorithm>

#include "pool/loss.h"
#include "pool/rank_watch.h"
#include "pool/test_clock.h"
#include "process/watched_time.h"
#include "run_files/death_note.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kShortestPoll{5};
constexpr milliseconds kLongestPoll{20};
constexpr milliseconds kFailureGrace{300};  // for the other ranks' pool_failed, and for how an ended rank ended

class PoolRun {
 public:
  PoolRun(const PoolPlan& plan, const PoolCallbacks& callbacks, const std::atomic<bool>& interrupted)
      : plan_(plan),
        callbacks_(callbacks),
        interrupted_(interrupted),
        watch_(plan),
        record_(watch_.record()),
        clock_(plan.limits, record_),
        over_(plan.plan.tests.size(), false) {}

  PoolEnd Run() {
    Start();
    while (!end_) {
      const bool news = ReadEvents();
      watch_.BindRanks();
      if (!end_) ReportTestsThatAreOver();
      if (!end_) CheckStart();
      if (!end_) CheckProcesses();
      if (!end_) CheckDeadlines();
      if (!end_ && interrupted_) EndWith(PoolEnd::Kind::kInterrupted, "interrupted");
      if (!end_) WaitForNews(news);
    }
    if (end_->kind == PoolEnd::Kind::kFinished) AwaitExit();
    if (const std::string left = watch_.End(); !left.empty()) end_->reason += "; " + left;
    for (size_t test = 0; test < over_.size(); ++test) {
      if (!over_[test] && record_.StartedByAny(test)) end_->cut_short.push_back(test);
    }
    end_->start_seconds = start_seconds_;
    end_->implementation = record_.ranks().front().implementation;
    end_->warm = std::ranges::all_of(record_.ranks(), &RankState::warm);
    return *end_;
  }

 private:
  void Start() {
    begin_ = time_.Now();
    try {
      watch_.Start();
    } catch (const InputError&) {
      watch_.End();
      throw;
    } catch (const std::runtime_error& error) {
      EndWith(PoolEnd::Kind::kStartFailed, error.what());
    }
  }

  void EndWith(PoolEnd::Kind kind, const std::string& reason) {
    PoolEnd end;
    end.kind = kind;
    end.reason = reason;
    end.implementation_failed = std::ranges::any_of(record_.ranks(), [&](const RankState& rank) {
      if (kind == PoolEnd::Kind::kInputError) return rank.loading && rank.failed_kind == "input";
      return kind == PoolEnd::Kind::kStartFailed && rank.loading && !rank.ready && !rank.failed_kind;
    });
    end_ = end;
  }

  // True when an event was read.
  bool ReadEvents() {
    bool news = true;
    try {
      news = watch_.ReadEvents();
    } catch (const ProtocolError& error) {
      BreakAt({Verdict::kHarnessError, watch_.reading(), error.what()});
    }
    NoteRunning();
    return news;
  }

  void NoteRunning() {
    if (!start_seconds_ && record_.AllReady()) {
      start_seconds_ = std::chrono::duration<double>(time_.Now() - begin_).count();
      clock_.Begin(time_.Now());
      if (callbacks_.on_ready) callbacks_.on_ready(record_.ranks().front().implementation);
    }
    if (clock_.Note(time_.Now()) && clock_.running() && callbacks_.on_test_started) {
      callbacks_.on_test_started(*clock_.running());
    }
  }

  void ReportOver(size_t test, const std::optional<Incident>& incident) {
    over_[test] = true;
    double seconds = 0;
    for (const RankReport& report : record_.Reports(test)) seconds = std::max(seconds, report.seconds);
    if (incident && clock_.running() == test) seconds = clock_.SecondsRunning(time_.Now());
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
    } else if (!start_seconds_ && time_.Now() - begin_ > plan_.limits.start) {
      EndWith(PoolEnd::Kind::kStartFailed,
              "ranks were not ready within " + SecondsText(plan_.limits.start) + watch_.LastLogLine(SlowestRank()));
    }
  }

  int SlowestRank() const {
    const auto slow = std::ranges::find(record_.ranks(), false, &RankState::ready);
    return slow == record_.ranks().end() ? 0 : static_cast<int>(slow - record_.ranks().begin());
  }

  // A peer's failure follows from the first one; the rank that names wrong input may be a little later.
  void AwaitOtherFailures() {
    for (const auto until = time_.Now() + kFailureGrace; time_.Now() < until && !end_;) {
      const int failed = *record_.FailedRank();
      if (record_.ranks()[static_cast<size_t>(failed)].failed_kind == "input") return;
      watch_.Wait(kShortestPoll);
      ReadEvents();
    }
    end_.reset();
  }

  bool SomeIsLost(const std::vector<bool>& ended) const {
    for (size_t rank = 0; rank < ended.size(); ++rank) {
      if (ended[rank] && !record_.ranks()[rank].pool_finished) return true;
    }
    return false;
  }

  void CheckProcesses() {
    // What an ended rank has written is complete: only events that are read after this say whether it is lost.
    const std::vector<bool> ended = watch_.EndedRanks();
    const bool processes_ended = watch_.processes().SupportEnded() || watch_.processes().AllEnded();
    if (!processes_ended && (!SomeIsLost(ended) || AwaitsPeersOfTheDead(ended))) return;
    ReadEvents();  // what they wrote before they ended
    if (end_ || record_.FailedRank()) return;
    ReportTestsThatAreOver();
    if (!end_ && (processes_ended || SomeIsLost(ended))) EndWithLoss();
  }

  // A rank of the running test died as the test had asked for: its peers have until the deadline to see it, and leave.
  bool AwaitsPeersOfTheDead(const std::vector<bool>& ended) const {
    const std::optional<size_t> test = record_.Running();
    if (!test || *test >= plan_.plan.phases.size() || !plan_.plan.phases[*test]) return false;
    const PlannedPhase& phase = *plan_.plan.phases[*test];
    const std::optional<int> dead = phase.role == "crash" ? ReadDeathNote(phase.folder) : std::nullopt;
    return dead && *dead < static_cast<int>(ended.size()) && ended[static_cast<size_t>(*dead)] && !AllHaveEnded(ended);
  }

  static bool AllHaveEnded(const std::vector<bool>& ended) { return std::ranges::count(ended, false) == 0; }

  void EndWithLoss() {
    std::optional<std::string> support_ended = SupportEndedFirst();
    std::vector<RankEnd> ranks = RankEnds();
    // How a rank ended is known a little later than that it did, and its process ends a little after its connection. So
    // does the launcher that took its ranks along.
    const auto undecided = [&](const RankEnd& rank) {
      if (!rank.ended || rank.crashed_signal) return false;
      return rank.alive || (plan_.UsesLauncher() ? !support_ended && !rank.orphaned : !rank.status);
    };
    for (const auto until = time_.Now() + kFailureGrace;
         time_.Now() < until && std::ranges::any_of(ranks, undecided) && !end_; ranks = RankEnds()) {
      watch_.Wait(kShortestPoll);
      if (!support_ended) support_ended = SupportEndedFirst();
    }
    if (end_) return;
    if (record_.FailedRank()) return CheckStart();
    const bool none_started = std::ranges::none_of(record_.ranks(), &RankState::started);
    if (plan_.UsesLauncher() && none_started && watch_.processes().SupportEnded()) {
      return EndWith(PoolEnd::Kind::kInputError, DescribeLauncherFailure());
    }
    Incident incident = ExplainLoss(ranks, watch_.hub().Lost(), support_ended);
    incident.reason += watch_.LastLogLine(incident.rank);
    BreakAt(incident);
  }

  // A launcher that ends because a rank did is not the cause; one that was killed is.
  std::optional<std::string> SupportEndedFirst() {
    const std::optional<std::string> ended = watch_.processes().SupportEnded();
    const bool killed = ended && (!plan_.UsesLauncher() || ended->find("(signal ") != std::string::npos);
    return killed || !SomeIsLost(watch_.EndedRanks()) ? ended : std::nullopt;
  }

  // Reads events.
  std::vector<RankEnd> RankEnds() {
    const std::vector<bool> ended = watch_.EndedRanks();
    ReadEvents();
    const std::vector<RankStanding> standings = watch_.hub().Standings();
    std::vector<RankEnd> ends;
    for (int rank = 0; rank < plan_.plan.world_size; ++rank) {
      const RankState& state = record_.ranks()[static_cast<size_t>(rank)];
      const RankStanding& standing = standings[static_cast<size_t>(rank)];
      ends.push_back({ended[static_cast<size_t>(rank)], watch_.IsAlive(rank), state.pool_finished, state.orphaned,
                      state.crashed_signal, watch_.processes().StatusOf(rank), standing.left, standing.lost,
                      standing.failure});
    }
    return ends;
  }

  std::string DescribeLauncherFailure() {
    std::string how = *watch_.processes().SupportEnded();
    how = how.substr(std::min(how.size(), how.find(" ended")));
    return "the launcher \"" + plan_.LauncherWords() + "\"" + how + " before any rank had started" +
           watch_.LastLogLine(-1);
  }

  // The test that the incident's rank ran last gets the verdict. When it is none (-1), the test that the farthest rank
  // runs: what the others had not left runs again.
  void BreakAt(const Incident& incident) {
    const int culprit = incident.rank;
    const bool before_ready = culprit >= 0 && !record_.ranks()[static_cast<size_t>(culprit)].ready;
    if (before_ready || (!start_seconds_ && !record_.StartedByAny(0))) {  // peers may be in the first test already
      EndWith(PoolEnd::Kind::kStartFailed, incident.reason);
      return;
    }
    EndWith(PoolEnd::Kind::kBroken, incident.reason);
    const std::optional<size_t> victim = LastStarted(culprit);
    if (!victim || over_[*victim]) return;
    const bool finished = culprit >= 0 ? record_.Reports(*victim)[static_cast<size_t>(culprit)].finished()
                                       : record_.FinishedByAll(*victim);
    Incident told = incident;
    if (finished) told.reason = "after the test had finished: " + told.reason;
    ReportOver(*victim, told);
  }

  // By this rank; -1: by any rank.
  std::optional<size_t> LastStarted(int only) const {
    std::optional<size_t> last;
    for (int rank = 0; rank < plan_.plan.world_size; ++rank) {
      if (only < 0 || only == rank) last = std::max(last, record_.ranks()[static_cast<size_t>(rank)].last_started);
    }
    return last;
  }

  void CheckDeadlines() {
    if (!start_seconds_) return;
    switch (clock_.WhatIsLate(time_.Now())) {
      case TestClock::Late::kNone: return;
      case TestClock::Late::kIdle:
        return EndWith(PoolEnd::Kind::kBroken, "no rank started a test within " + SecondsText(plan_.limits.test));
      case TestClock::Late::kPeers: return EndStuckPeers();
      case TestClock::Late::kTest: return EndHang();
    }
  }

  void EndStuckPeers() {
    const std::string reason = "did not stop within " + SecondsText(plan_.limits.stop_peers) + " after rank " +
                               std::to_string(clock_.stopper()) + " had ended the test; killed";
    const size_t test = *clock_.running();
    record_.AbortUnfinished(test, reason);
    ReportOver(test, std::nullopt);
    EndWith(PoolEnd::Kind::kBroken, "ranks " + reason);
  }

  void EndHang() {
    const size_t test = *clock_.running();
    const std::vector<int> stuck = clock_.StuckRanks();
    std::string who = stuck.size() == 1 ? "rank" : "ranks";
    for (const int rank : stuck) who += " " + std::to_string(rank);
    const std::string when = record_.FinishedByAll(test) ? "after the test had finished: " : "";
    std::string reason = when + who + " did not come back within " + SecondsText(plan_.limits.test) +
                         watch_.LastLogLine(stuck.front());
    if (const std::string text = watch_.DescribeStuckRanks(plan_.limits.stacks); !text.empty()) reason += "; " + text;
    ReportOver(test, Incident{Verdict::kHang, stuck.size() == 1 ? stuck.front() : -1, reason});
    EndWith(PoolEnd::Kind::kBroken, reason);
  }

  // Sleeps until a rank ends or the poll interval is over: short after news, growing while there is none.
  void WaitForNews(bool news) {
    interval_ = news ? kShortestPoll : std::min(kLongestPoll, interval_ + milliseconds(1));
    watch_.Wait(interval_);
  }

  void AwaitExit() {
    for (const auto until = time_.Now() + plan_.limits.finish; time_.Now() < until && !interrupted_;) {
      if (watch_.processes().AllEnded()) break;
      watch_.Wait(kShortestPoll);
    }
    const std::optional<std::string> bad = watch_.processes().AllEnded();
    if (!bad) {
      end_->reason = "ranks did not end within " + SecondsText(plan_.limits.finish) + " after their last test";
    } else if (!bad->empty()) {
      end_->reason = "ranks ended badly after their last test: " + *bad;
    }
  }

  const PoolPlan& plan_;
  const PoolCallbacks& callbacks_;
  const std::atomic<bool>& interrupted_;
  RankWatch watch_;
  PoolRecord& record_;
  TestClock clock_;
  WatchedTime time_;  // of all deadlines
  std::vector<bool> over_;
  size_t next_ = 0;  // tests before it are over
  std::optional<double> start_seconds_;
  WatchedTime::Clock::time_point begin_;
  milliseconds interval_ = kShortestPoll;
  std::optional<PoolEnd> end_;
};

}  // namespace

bool PoolPlan::UsesMpi() const {
  const auto comm = plan.implementation.options.find("comm");
  return comm != plan.implementation.options.end() && comm->second == "mpi";
}

PoolEnd RunPool(const PoolPlan& plan, const PoolCallbacks& callbacks, const std::atomic<bool>& interrupted) {
  return PoolRun(plan, callbacks, interrupted).Run();
}

}  // namespace shardcts
