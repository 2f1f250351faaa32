#include "pool/pool_record.h"

#include <algorithm>
#include <set>

#include "run_files/event_fields.h"
#include "run_files/foreign_text.h"
#include "run_files/implementation_description.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kQuotedBytes = 120;
constexpr int kMaxSignal = 64;

}  // namespace

PoolRecord::PoolRecord(std::vector<std::string> tests, int world_size,
                       std::vector<std::optional<PlannedPhase>> phases)
    : tests_(std::move(tests)),
      phases_(std::move(phases)),
      ranks_(static_cast<size_t>(world_size)),
      reports_(tests_.size(), std::vector<RankReport>(static_cast<size_t>(world_size))) {
  phases_.resize(tests_.size());
}

void PoolRecord::Apply(int rank, const std::string& line) {
  const std::string where = "rank " + std::to_string(rank) + " wrote an event that does not follow the protocol: ";
  try {
    const Json event = ParseJson(line, "event");
    ApplyEvent(rank, event.at("event").get<std::string>(), event);
    while (first_open_ < tests_.size() && LeftByAll(first_open_)) ++first_open_;
  } catch (const Json::exception&) {
    throw ProtocolError(where + Bounded(line, kQuotedBytes));
  } catch (const InputError&) {
    throw ProtocolError(where + Bounded(line, kQuotedBytes));
  } catch (const std::runtime_error& error) {
    throw ProtocolError(where + error.what());
  }
}

void PoolRecord::ApplyEvent(int rank, const std::string& name, const Json& event) {
  RankState& state = ranks_[static_cast<size_t>(rank)];
  if (name == "rank_started") {
    state.started = true;
    state.pid = static_cast<pid_t>(CountOf(event.at("pid")));
    if (state.pid < 1) throw ProtocolError("no process of ours: " + std::to_string(state.pid));
    state.host = TextField(event, "host", kMaxNameBytes);
    state.stack_signal = static_cast<int>(CountOf(event.value("stack_signal", Json(0))));
    if (state.stack_signal > kMaxSignal) throw ProtocolError("no signal: " + std::to_string(state.stack_signal));
    state.warm = event.value("start", "cold") == "warm";
    if (event.value("world_size", static_cast<int>(ranks_.size())) != static_cast<int>(ranks_.size())) {
      state.failed_kind = "input";
      state.failed_message = "the launcher started " + std::to_string(CountOf(event["world_size"])) + " ranks, the plan needs " +
                             std::to_string(ranks_.size());
    }
  } else if (name == "implementation_started") {
    state.loading = true;
  } else if (name == "pool_ready") {
    state.ready = true;
    state.ready_seconds = SecondsOf(event.value("seconds", Json(0)));
    state.implementation = event.at("implementation");
    if (const auto problem = FindDescriptionProblem(state.implementation)) throw ProtocolError(*problem);
  } else if (name == "pool_failed") {
    state.failed_kind = TextField(event, "kind", kMaxNameBytes);
    state.failed_message = TextField(event, "message");
  } else if (name == "rank_crashed") {
    state.crashed_signal = static_cast<int>(CountOf(event.at("signal")));
    if (state.crashed_signal > kMaxSignal) throw ProtocolError("no signal: " + std::to_string(*state.crashed_signal));
  } else if (name == "rank_orphaned") {
    state.orphaned = true;
  } else if (name == "test_started") {
    StartTest(rank, event);
  } else if (name == "test_finished") {
    FinishTest(rank, event);
  } else if (name == "pool_finished") {
    state.pool_finished = true;
  } else {
    throw ProtocolError("unknown event '" + Bounded(name, kQuotedBytes) + "'");
  }
}

size_t PoolRecord::TestIndex(const Json& event) const {
  const auto index = static_cast<size_t>(CountOf(event.at("index")));
  const std::string test = event.at("test").get<std::string>();
  if (index >= tests_.size() || tests_[index] != test) {
    throw ProtocolError("test " + Bounded(test, kQuotedBytes) + " is not number " + std::to_string(index) + " of the plan");
  }
  const int64_t phase = CountOf(event.value("phase", Json(0)));
  const int64_t planned = phases_[index] ? static_cast<int64_t>(phases_[index]->index) + 1 : 0;
  if (phase != planned) {
    throw ProtocolError("phase " + std::to_string(phase) + " of test " + test + " is not planned");
  }
  return index;
}

void PoolRecord::StartTest(int rank, const Json& event) {
  const size_t index = TestIndex(event);
  RankState& state = ranks_[static_cast<size_t>(rank)];
  const size_t expected = state.last_started ? *state.last_started + 1 : 0;
  if (index != expected) throw ProtocolError("test " + tests_[index] + " was started out of order");
  state.last_started = index;
  reports_[index][static_cast<size_t>(rank)].started = true;
}

void PoolRecord::FinishTest(int rank, const Json& event) {
  const size_t index = TestIndex(event);
  RankReport& report = reports_[index][static_cast<size_t>(rank)];
  if (!report.started || report.finished()) throw ProtocolError("test " + tests_[index] + " was not running");
  report = RankReportFromJson(rank, event);
}

bool PoolRecord::AllReady() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const RankState& rank) { return rank.ready; });
}

bool PoolRecord::AllPoolFinished() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const RankState& rank) { return rank.pool_finished; });
}

std::optional<int> PoolRecord::FailedRank() const {
  std::optional<int> failed;
  for (size_t rank = 0; rank < ranks_.size(); ++rank) {
    if (ranks_[rank].failed_kind == "input") return static_cast<int>(rank);
    if (ranks_[rank].failed_kind && !failed) failed = static_cast<int>(rank);
  }
  return failed;
}

bool PoolRecord::StartedByAny(size_t test) const {
  return std::any_of(reports_[test].begin(), reports_[test].end(), [](const RankReport& r) { return r.started; });
}

bool PoolRecord::FinishedByAll(size_t test) const {
  return std::all_of(reports_[test].begin(), reports_[test].end(), [](const RankReport& r) { return r.finished(); });
}

bool PoolRecord::LeftByAll(size_t test) const {
  return FinishedByAll(test) && std::all_of(ranks_.begin(), ranks_.end(), [&](const RankState& rank) {
           return rank.pool_finished || (rank.last_started && *rank.last_started > test);
         });
}

std::optional<int> PoolRecord::RankThatStopped(size_t test) const {
  static const std::set<RankVerdict> kStopping = {RankVerdict::kFail, RankVerdict::kDiverged,
                                                  RankVerdict::kNotSupported, RankVerdict::kHarnessError};
  for (size_t rank = 0; rank < ranks_.size(); ++rank) {
    const RankReport& report = reports_[test][rank];
    if (report.verdict && kStopping.contains(*report.verdict)) return static_cast<int>(rank);
  }
  return std::nullopt;
}

void PoolRecord::AbortUnfinished(size_t test, const std::string& reason) {
  for (RankReport& report : reports_[test]) {
    if (report.finished()) continue;
    report.verdict = RankVerdict::kAborted;
    report.reason = reason;
  }
}

std::optional<size_t> PoolRecord::Running() const {
  if (first_open_ == tests_.size() || !StartedByAny(first_open_)) return std::nullopt;
  return first_open_;
}

}  // namespace shardcts
