// The part of the ledger that tests with phases need.
#include <algorithm>

#include "run/run_ledger.h"
#include "run_files/death_note.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr int kMostAttempts = 10;  // to run the phases of a test whose pools break for other tests' sake

}  // namespace

void RunLedger::OpenFolders(bool go_on) {
  const Lock lock(mutex_);
  const bool needed = std::ranges::any_of(results_.tests, [](const TestResult& result) { return !result.test.phases.empty(); });
  folders_.Open(go_on, needed);
  closes_folders_ = true;
}

void RunLedger::CloseFolders() {
  const Lock lock(mutex_);
  if (closes_folders_) folders_.Close();
}

void RunLedger::NoteEarlierFolder(const fs::path& folder) {
  const Lock lock(mutex_);
  folders_.NoteEarlier(folder);
}

void RunLedger::RemoveOtherFolders() {
  const Lock lock(mutex_);
  folders_.RemoveOthers();
}

fs::path RunLedger::FolderOf(const Unit& unit) {
  const Lock lock(mutex_);
  Attempt& attempt = attempts_[unit.job];
  if (attempt.folder.empty()) {
    const TestResult& result = ResultOf(unit.job);
    attempt.folder =
        folders_.Make(result.implementation, RecordingName(result.test.id, RepetitionOf(unit.job)));
  }
  return attempt.folder;
}

std::string RunLedger::OtherRunnerOf(const Unit& unit) {
  const TestResult& result = ResultOf(unit.job);
  if (!options_.load_with || result.test.phases.empty() || !result.test.phases.at(unit.phase).loads()) return "";
  return options_.load_with->label == result.implementation ? "" : options_.load_with->label;
}

bool RunLedger::WasAskedFor(const Unit& unit, const std::optional<Incident>& incident) const {
  const TestCase& test = results_.tests[IndexOf(unit.job)].test;
  if (test.phases.at(unit.phase).role != "crash" || !incident) return false;
  const bool launcher_ended = incident->verdict == Verdict::kHarnessError && incident->rank < 0;  // over the dead rank
  if (incident->verdict != Verdict::kCrash && !launcher_ended) return false;
  const std::optional<int> dead = ReadDeathNote(attempts_.at(unit.job).folder);
  return dead && (incident->rank < 0 || *dead == incident->rank);  // a launcher that ends all hides which died first
}

Verdict RunLedger::FinishPhase(const Unit& unit, const Plan& plan, const std::vector<RankReport>& ranks,
                               const std::optional<Incident>& incident, double seconds) {
  Attempt& attempt = attempts_[unit.job];
  const TestCase& test = results_.tests[IndexOf(unit.job)].test;
  if (WasAskedFor(unit, incident)) {
    fs::remove(DeathNote(attempt.folder));
    ++attempt.round;
    return Verdict::kPass;
  }
  attempt.round = 0;
  PhaseResult result = CombinePhase(test, unit.phase, ranks, incident, seconds);
  result.implementation = plan.implementation.label;
  result.log = plan.pool_folder.lexically_relative(folder_).string();
  if (result.verdict.verdict == Verdict::kPass && unit.phase + 1 < test.phases.size()) {
    const std::string problem = TestFolders::ProblemOf(attempt.folder);
    if (!problem.empty()) result.verdict = {Verdict::kFail, problem, {}};
  }
  const Verdict verdict = result.verdict.verdict;
  attempt.phases.push_back(std::move(result));
  if (DecidesTest(test, attempt.phases)) {
    TestResult outcome = Blank(unit.job);
    SetOutcome(outcome, attempt.phases);
    Conclude(unit.job, plan.trace_folder, std::move(outcome));
  }
  return verdict;
}

void RunLedger::TakeOver(size_t job, const fs::path& trace_folder, const fs::path& test_folder,
                         std::vector<PhaseResult> phases) {
  const Lock lock(mutex_);
  if (decided_.contains(job) || !DecidesTest(ResultOf(job).test, phases)) return;
  if (TestFolders::ProblemOf(test_folder).empty()) attempts_[job].folder = test_folder;
  TestResult outcome = Blank(job);
  SetOutcome(outcome, std::move(phases));
  Conclude(job, trace_folder, std::move(outcome));
}

void RunLedger::CutShort(const Unit& unit) {
  const Lock lock(mutex_);
  const auto found = attempts_.find(unit.job);
  if (found == attempts_.end() || decided_.contains(unit.job) || found->second.number != unit.attempt) return;
  Attempt& attempt = found->second;
  folders_.Remove(attempt.folder);
  attempt = {attempt.number + 1, {}, {}, 0};
  if (attempt.number < kMostAttempts) return;
  decided_.insert(unit.job);
  DecideOne(unit.job, Verdict::kHarnessError, "its ranks were ended for another test's sake each time that it began");
  TellWhenOver(unit.job);
}

// A test that failed leaves its folder to whoever looks for the cause.
void RunLedger::SettleFolder(size_t job, TestResult& outcome) {
  const auto attempt = attempts_.find(job);
  if (attempt == attempts_.end() || attempt->second.folder.empty()) return;
  const bool failed = IsConformanceFailure(outcome.verdict) || outcome.verdict == Verdict::kHarnessError;
  if (failed && outcome.verdict != Verdict::kUnexpectedPass) {
    outcome.folder = attempt->second.folder.string();
    folders_.Keep(attempt->second.folder);
    if (outcome.reason.find("; its folder: ") == std::string::npos) {
      outcome.reason += "; its folder: " + outcome.folder + folders_.Shortage();
    }
  } else {
    folders_.Remove(attempt->second.folder);
  }
  attempts_.erase(attempt);
}

}  // namespace shardcts
