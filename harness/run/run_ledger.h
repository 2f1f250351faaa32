// RunLedger: what a run knows so far, and its results.json. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "results/repetitions.h"
#include "run/run.h"
#include "run/test_folders.h"
#include "run_files/folder_lock.h"
#include "run_files/plan.h"

namespace shardcts {

class EarlierRun;

// What a pool runs of a job: all of it, or one of its phases.
struct Unit {
  size_t job = 0;
  size_t phase = 0;  // from 0
  int attempt = 0;   // of the job: one whose phase is cut short begins anew
  int round = 0;     // of a phase that ends with a death again and again: how often it has
};

// Each repetition of each result is a job: job % results is the index of the result, job / results the repetition.
//
// Pools on several threads report to one ledger: a call is over before another begins, and the observer is told within
// it, so by one thread at a time.
class RunLedger {
 public:
  // Plans the results of all implementations. Throws InputError as Run does.
  RunLedger(const RunOptions& options, RunObserver& observer, const std::filesystem::path& folder);

  // What is next of every job of an implementation that has no verdict, in the order of the run.
  std::vector<Unit> OpenUnits(size_t implementation) const;
  // Those that are still next.
  std::vector<Unit> StillOpen(const std::vector<Unit>& units) const;
  TestCase TestOf(size_t job) const;
  std::string RecordingOf(size_t job) const { return RecordingName(TestOf(job).id, RepetitionOf(job)); }
  // The folder of the job's phases, made when there is none. Throws InputError.
  std::filesystem::path FolderOf(const Unit& unit);
  // The job that makes this recording on the implementation.
  std::optional<size_t> JobOf(size_t implementation, const std::string& recording) const;

  // An entry for the pools of one implementation and world size: its number.
  size_t AddPools(size_t implementation, int world_size);
  // One more pool begins, for so many tests: how many did before it.
  int BeginPool(size_t pools, size_t tests);
  void EndPool(size_t pools, const PoolEnd& end);

  void Describe(size_t implementation, const nlohmann::ordered_json& said);
  void DescribeWarmStart(size_t implementation, const nlohmann::ordered_json& said);

  void TellStarted(size_t job);
  // The outcome of a test or phase. Returns its verdict, before any waiver; pass where the phase has not ended yet.
  Verdict Finish(const Unit& unit, const Plan& plan, const std::vector<RankReport>& ranks,
                 const std::optional<Incident>& incident, double seconds);
  // The phases that an earlier run has run of a job, all in this folder, if they decide it.
  void TakeOver(size_t job, const std::filesystem::path& trace_folder, const std::filesystem::path& test_folder,
                std::vector<PhaseResult> phases);
  // The unit had begun, and its pool ended: a test with phases begins anew, in another folder.
  void CutShort(const Unit& unit);
  // Those of the units' jobs that are undecided get this verdict.
  void Decide(const std::vector<Unit>& units, Verdict verdict, const std::string& reason);
  // The same with not_run for all that are left, whose number it gives; the observer is not told.
  size_t GiveUp(const std::string& reason);

  // The results are those of an earlier run, continued. Throws InputError when it was another one.
  void GoOnWith(const EarlierRun& earlier);

  // Makes ready for the folders of tests with phases; `go_on`: those of an earlier run stay until RemoveOtherFolders.
  // Throws InputError when --storage-root cannot be used.
  void OpenFolders(bool go_on);
  void CloseFolders();  // for a run that ends with an error
  void NoteEarlierFolder(const std::filesystem::path& folder);
  // Those of no test that has failed: what an earlier run had not finished.
  void RemoveOtherFolders();

  // Before it nothing is written, and after it only while the lock holds.
  void WriteWhereLocked(const FolderLock& lock) { lock_ = &lock; }

  void CompareAll(const std::atomic<bool>& interrupted);
  void Write();
  Results Close(bool complete);

 private:
  using Clock = std::chrono::steady_clock;
  using Lock = std::lock_guard<std::mutex>;

  // The number of results stays, so these need no lock.
  size_t Jobs() const { return results_.tests.size() * static_cast<size_t>(options_.repeat); }
  size_t IndexOf(size_t job) const { return job % results_.tests.size(); }
  size_t RepetitionOf(size_t job) const { return job / results_.tests.size(); }
  void AddTests(size_t implementation);

  bool HasPhases() const;

  // From here on with the lock held.
  TestResult& ResultOf(size_t job) { return results_.tests[IndexOf(job)]; }
  TestResult Blank(size_t job);
  // Of a job with phases: those that have passed in its attempt.
  struct Attempt {
    int number = 0;
    std::filesystem::path folder;  // empty: none was made
    std::vector<PhaseResult> phases;
    int round = 0;  // of the phase that is next
  };
  Unit NextOf(size_t job) const;
  // The label of the implementation that runs the phase, where it is not the one under test; else empty.
  std::string OtherRunnerOf(const Unit& unit);
  // The rank died because the test had asked for it: the phase goes on with other ranks.
  bool WasAskedFor(const Unit& unit, const std::optional<Incident>& incident) const;
  Verdict FinishPhase(const Unit& unit, const Plan& plan, const std::vector<RankReport>& ranks,
                      const std::optional<Incident>& incident, double seconds);
  void Conclude(size_t job, const std::filesystem::path& trace_folder, TestResult outcome);
  void SettleFolder(size_t job, TestResult& outcome);
  void Take(size_t job, TestResult outcome);
  void DecideOne(size_t job, Verdict verdict, const std::string& reason);
  void TellWhenOver(size_t job);
  // A path, or empty.
  std::string KeepRecording(const std::filesystem::path& trace_folder, size_t job, const TestResult& outcome);
  const Waiver* WaiverOf(size_t index) const;  // null: none
  std::string VersionOf(size_t implementation) const;
  std::string BaseOf(size_t implementation) const;  // what it says that it is based on
  std::string BaseVersionOf(size_t implementation) const;  // the note of that name; without one VersionOf
  std::string ApartBecause(const TestResult& baseline, const TestResult& test) const;
  void Compare(const TestResult& baseline, TestResult& test);
  void WriteNow();
  void WriteWhenStale();

  const RunOptions& options_;
  RunObserver& observer_;
  const std::filesystem::path folder_;
  const Clock::time_point begin_ = Clock::now();

  mutable std::mutex mutex_;
  Results results_;
  std::vector<std::vector<const Waiver*>> waivers_;  // of each result, each for other versions
  std::vector<size_t> implementation_of_;            // of each result
  std::set<size_t> decided_;                         // jobs
  std::map<size_t, Attempt> attempts_;               // of jobs with phases that have begun
  TestFolders folders_;
  bool closes_folders_ = false;
  Clock::time_point written_ = begin_;
  Clock::duration last_write_took_{0};
  const FolderLock* lock_ = nullptr;
  double earlier_seconds_ = 0;
  mutable std::map<std::pair<size_t, std::string>, size_t> job_of_;  // implementation, recording
};

}  // namespace shardcts
