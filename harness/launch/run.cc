#include "launch/run.h"

#include <algorithm>
#include <ctime>
#include <iterator>
#include <map>
#include <set>

#include "launch/environment.h"
#include "launch/input_error.h"
#include "launch/merge_traces.h"
#include "launch/repetitions.h"
#include "launch/run_folder.h"
#include "launch/warm_process.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;
using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr int kFailedStartsAllowed = 2;

std::string NowText() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// The label is a text that --impl takes.
std::string ReproduceCommand(const RunOptions& options, const ImplementationSpec& spec, const TestCase& test) {
  std::string command = options.program + " run --impl " + ShellWord(spec.label) + " --filter " + ShellWord(test.id) +
                        " --seed " + std::to_string(options.seed);
  if (options.trace != RunOptions{}.trace) command += " --trace " + options.trace;
  if (options.limits.test != PoolLimits{}.test) {
    command += " --timeout " + std::to_string(static_cast<double>(options.limits.test.count()) / 1000);
  }
  if (options.repeat > 1) command += " --repeat " + std::to_string(options.repeat);
  for (const std::string& capability : options.required_capabilities) command += " --require " + ShellWord(capability);
  for (const std::string& file : options.waiver_files) command += " --waivers " + ShellWord(file);
  if (options.ranks) command += std::string(" --ranks ") + ToString(*options.ranks);
  return command + " --out out/reproduce";
}

// Each repetition of each result is a job: job % results is the index of the result, job / results the repetition.
class RunDriver {
 public:
  RunDriver(const RunOptions& options, RunObserver& observer, const std::atomic<bool>& interrupted)
      : options_(options), observer_(observer), interrupted_(interrupted), folder_(fs::absolute(options.run_folder)) {}

  Results Go() {
    Prepare();
    PrepareRunFolder(folder_);
    Write();
    try {
      for (size_t i = 0; i < options_.implementations.size(); ++i) RunImplementation(i);
    } catch (const InputError&) {
      MarkRest("the run ended with an input error");
      Write();
      throw;
    }
    if (interrupted_) {
      MarkRest("interrupted");
    } else {
      CompareAll();
    }
    results_.complete = !interrupted_;
    Write();
    return std::move(results_);
  }

 private:
  void Prepare() {
    results_.command = options_.command;
    results_.seed = options_.seed;
    results_.started = NowText();
    results_.start = WarmWanted() ? "warm" : "cold";
    results_.repeat = options_.repeat;
    results_.required_capabilities = options_.required_capabilities;
    results_.waiver_files = options_.waiver_files;
    results_.pool = options_.pool_mode == PoolMode::kFresh ? "fresh" : "shared";
    results_.environment = CaptureEnvironment(options_.launcher);
    results_.suite_commit = SuiteCommit();
    for (const SuiteSize& suite : AllSuites()) {
      if (std::ranges::count(options_.tests, suite.name, &TestCase::suite)) results_.suites.push_back(suite);
    }
    for (const ImplementationSpec& spec : options_.implementations) {
      results_.implementations.push_back(
          {spec.label, spec.source, spec.device, Json(spec.options), spec.mutant, Json(), Json()});
      AddTests(results_.implementations.size() - 1);
    }
  }

  void AddTests(size_t implementation) {
    const ImplementationSpec& spec = options_.implementations[implementation];
    std::vector<TestCase> tests;
    std::ranges::copy_if(options_.tests, std::back_inserter(tests),
                         [&](const TestCase& test) { return !options_.wanted || options_.wanted(spec, test); });
    const std::vector<RankKind> rank_kinds = ChooseRankKinds(options_.ranks, tests, spec, options_.rank_program);
    for (size_t i = 0; i < tests.size(); ++i) {
      TestResult result;
      result.test = tests[i];
      result.implementation = spec.label;
      result.rank_kind = rank_kinds[i];
      result.reason = "not run yet";
      result.reproduce = ReproduceCommand(options_, spec, result.test);
      if (options_.repeat > 1) result.repetitions.assign(static_cast<size_t>(options_.repeat), {});
      waivers_.push_back(FindWaiver(options_.waivers, result.test, spec));
      implementation_of_.push_back(implementation);
      results_.tests.push_back(std::move(result));
    }
  }

  bool WarmWanted() const { return options_.start_mode == StartMode::kWarm && options_.pool_mode == PoolMode::kShared; }

  void Write() {
    results_.seconds = std::chrono::duration<double>(Clock::now() - begin_).count();
    WriteResults(results_, folder_);
    written_ = Clock::now();
  }

  TestResult& ResultOf(size_t job) { return results_.tests[job % results_.tests.size()]; }
  size_t RepetitionOf(size_t job) const { return job / results_.tests.size(); }

  void MarkRest(const std::string& reason) {
    for (size_t job = 0; job < results_.tests.size() * static_cast<size_t>(options_.repeat); ++job) {
      if (!decided_.contains(job)) Take(job, NotRun(job, reason));
    }
  }

  TestResult NotRun(size_t job, const std::string& reason) {
    TestResult outcome = Blank(job);
    outcome.reason = reason;
    return outcome;
  }

  // What is known of a result before its test has run.
  TestResult Blank(size_t job) {
    const TestResult& result = ResultOf(job);
    TestResult blank;
    blank.test = result.test;
    blank.implementation = result.implementation;
    blank.rank_kind = result.rank_kind;
    blank.reproduce = result.reproduce;
    return blank;
  }

  void Take(size_t job, TestResult outcome) {
    if (options_.repeat == 1) {
      ResultOf(job) = std::move(outcome);
    } else {
      AddRepetition(RepetitionOf(job), std::move(outcome), ResultOf(job));
    }
  }

  // Once for each test, when its last repetition is decided.
  void TellWhenOver(size_t job) {
    for (size_t other = job % results_.tests.size(), left = static_cast<size_t>(options_.repeat); left > 0; --left) {
      if (!decided_.contains(other)) return;
      other += results_.tests.size();
    }
    observer_.OnTestOver(ResultOf(job));
  }

  void RunImplementation(size_t implementation) {
    std::map<std::pair<int, RankKind>, std::vector<size_t>> by_world;  // jobs
    for (size_t repetition = 0; repetition < static_cast<size_t>(options_.repeat); ++repetition) {
      const size_t first = repetition * results_.tests.size();
      for (size_t job = first; job < first + results_.tests.size(); ++job) {
        if (implementation_of_[job - first] != implementation) continue;
        by_world[{ResultOf(job).test.world_size, ResultOf(job).rank_kind}].push_back(job);
      }
    }
    for (const auto& [world, jobs] : by_world) {
      if (interrupted_) return;
      const auto& [world_size, rank_kind] = world;
      results_.pools.push_back({options_.implementations[implementation].label, world_size, rank_kind, 0, {}, {}});
      RunWorld(implementation, world_size, jobs);
    }
  }

  // One pool after another until each of the jobs has a verdict.
  void RunWorld(size_t implementation, int world_size, const std::vector<size_t>& jobs) {
    const ImplementationSpec& spec = options_.implementations[implementation];
    int failed_starts = 0;
    hangs_ = 0;
    for (std::vector<size_t> rest = jobs; !rest.empty() && !interrupted_; rest = Undecided(jobs)) {
      if (hangs_ > options_.stop_after_hangs) {
        Decide(rest, Verdict::kNotRun, "stopped after " + std::to_string(hangs_) + " hangs (--stop-after-hangs)");
        return;
      }
      if (options_.pool_mode == PoolMode::kFresh) rest.resize(1);
      observer_.OnPoolStart(spec.label, world_size, rest.size());
      const PoolEnd end = RunOnePool(implementation, world_size, rest);
      if (end.kind == PoolEnd::Kind::kInputError) {
        // An adapter's own message begins with its name already.
        throw InputError(end.reason.starts_with(spec.label) ? end.reason : spec.label + ": " + end.reason);
      }
      const bool progress = std::any_of(rest.begin(), rest.end(), [&](size_t i) { return decided_.contains(i); });
      failed_starts = progress ? 0 : failed_starts + 1;
      if (failed_starts == kFailedStartsAllowed) {
        Decide(rest, Verdict::kHarnessError, "the ranks could not be started twice in a row: " + end.reason);
        failed_starts = 0;
      }
    }
  }

  std::vector<size_t> Undecided(const std::vector<size_t>& jobs) const {
    std::vector<size_t> rest;
    std::copy_if(jobs.begin(), jobs.end(), std::back_inserter(rest), [&](size_t i) { return !decided_.contains(i); });
    return rest;
  }

  void Decide(const std::vector<size_t>& jobs, Verdict verdict, const std::string& reason) {
    for (size_t job : jobs) {
      if (!decided_.insert(job).second) continue;
      TestResult outcome = NotRun(job, reason);
      outcome.verdict = verdict;
      Take(job, std::move(outcome));
      TellWhenOver(job);
    }
    Write();
  }

  PoolEnd RunOnePool(size_t implementation, int world_size, const std::vector<size_t>& jobs) {
    const ImplementationSpec& spec = options_.implementations[implementation];
    PoolResult& pool = results_.pools.back();
    PoolPlan plan;
    plan.launcher = options_.launcher;
    plan.rank_program = options_.rank_program;
    plan.implementation = PlanEntry(spec);
    plan.world_size = world_size;
    plan.rank_kind = pool.rank_kind;
    plan.seed = options_.seed;
    plan.trace = options_.trace;
    plan.run_folder = folder_;
    plan.pool_folder = PoolFolder(folder_, spec.label, world_size, pool.starts++, pool.rank_kind);
    plan.trace_folder = TraceFolder(folder_, spec.label);
    plan.limits = options_.limits;
    plan.warm = WarmFor(implementation);
    for (size_t job : jobs) {
      plan.tests.push_back(ResultOf(job).test.id);
      plan.recordings.push_back(RecordingName(plan.tests.back(), RepetitionOf(job)));
      RemoveRankTraces(plan, plan.recordings.back());  // of a pool that was cut short
    }
    PoolCallbacks callbacks;
    callbacks.on_ready = [&](const Json& said) { results_.implementations[implementation].description = said; };
    callbacks.on_test_started = [&](size_t index) { observer_.OnTestStarted(ResultOf(jobs[index])); };
    callbacks.on_test_over = [&](size_t index, const std::vector<RankReport>& ranks,
                                 const std::optional<Incident>& incident,
                                 double seconds) { TakeOutcome(plan, jobs, index, ranks, incident, seconds); };
    const PoolEnd end = RunPool(plan, callbacks, interrupted_);
    if (plan.warm != nullptr && end.kind == PoolEnd::Kind::kStartFailed) {
      warm_.GiveUp("a pool did not start warm: " + end.reason);
    }
    TakeEnd(implementation, world_size, end);
    return end;
  }

  // The warm process for the next pool; nullptr: a cold start. The results say why.
  WarmProcess* WarmFor(size_t implementation) {
    if (!WarmWanted()) return nullptr;
    WarmProcess* warm = warm_.For(options_.rank_program, PlanEntry(options_.implementations[implementation]), folder_,
                                  options_.limits.start, interrupted_);
    Json& said = results_.implementations[implementation].warm;
    said = warm != nullptr ? Json{{"seconds", warm->seconds()}} : Json{{"problem", warm_.Problem()}};
    return warm;
  }

  void TakeEnd(size_t implementation, int world_size, const PoolEnd& end) {
    PoolResult& pool = results_.pools.back();
    ImplementationResult& result = results_.implementations[implementation];
    if (end.start_seconds) pool.start_seconds.push_back(*end.start_seconds);
    if (end.warm) ++pool.warm_starts;
    if (result.description.is_null()) result.description = end.implementation;
    AddImplementationNotes(end.implementation, results_.environment);
    if (end.reason.empty() || end.kind == PoolEnd::Kind::kInterrupted || end.kind == PoolEnd::Kind::kInputError) return;
    pool.problems.push_back(end.reason);
    if (end.kind == PoolEnd::Kind::kBroken) return;  // the verdict of the test that broke it says the same
    observer_.OnPoolProblem(result.label, world_size, end.reason);
  }

  static void RemoveRankTraces(const PoolPlan& plan, const std::string& recording) {
    fs::remove_all(RankTrace(plan.trace_folder, recording, 0).parent_path());
  }

  void TakeOutcome(const PoolPlan& plan, const std::vector<size_t>& jobs, size_t index,
                   const std::vector<RankReport>& ranks, const std::optional<Incident>& incident, double seconds) {
    const size_t job = jobs[index];
    decided_.insert(job);
    TestResult outcome = Blank(job);
    SetOutcome(outcome, ranks, incident, seconds);
    hangs_ += outcome.verdict == Verdict::kHang ? 1 : 0;
    RequireCapabilities(options_.required_capabilities, outcome);
    const size_t result = job % results_.tests.size();
    if (const Waiver* waiver = waivers_[result]) ApplyWaiver(*waiver, options_.today, VersionOf(result), outcome);
    outcome.log = fs::relative(plan.pool_folder, folder_).string();
    outcome.trace = KeepRecording(plan, plan.recordings[index], job, outcome);
    Take(job, std::move(outcome));
    TellWhenOver(job);
    if (Clock::now() - written_ > options_.refresh) Write();
  }

  std::string VersionOf(size_t result) const {
    const Json& description = results_.implementations[implementation_of_[result]].description;
    return description.is_object() ? description.value("version", "") : "";
  }

  // The merged trace, relative to the run folder; empty when there is none. Of repetitions that come to the same as the
  // first one there is none: many repetitions must not fill the disk.
  std::string KeepRecording(const PoolPlan& plan, const std::string& recording, size_t job, const TestResult& outcome) {
    if (RepetitionOf(job) > 0 && ResultOf(job).repetitions.front().verdict == outcome.verdict) {
      RemoveRankTraces(plan, recording);
      return "";
    }
    const bool merged = MergeTraces(plan.trace_folder, recording,
                                    {outcome.implementation, outcome.test.id, plan.world_size, plan.seed});
    return merged ? fs::relative(MergedTrace(plan.trace_folder, recording), folder_).string() : "";
  }

  void CompareAll() {
    if (!options_.parity || options_.baseline.empty()) return;
    std::map<std::string, const TestResult*> baseline;
    for (const TestResult& test : results_.tests) {
      if (test.implementation == options_.baseline) baseline[test.test.id] = &test;
    }
    size_t done = 0;
    for (TestResult& test : results_.tests) {
      if (interrupted_) return;
      if (test.implementation == options_.baseline) continue;
      observer_.OnParity(test.implementation, ++done, results_.tests.size() - baseline.size());
      if (const TestResult* other = baseline[test.test.id]; other != nullptr) Compare(*other, test);
    }
  }

  void Compare(const TestResult& baseline, TestResult& test) {
    if (baseline.trace.empty() || test.trace.empty()) return;
    try {
      const bool waived = baseline.verdict == Verdict::kWaived || test.verdict == Verdict::kWaived;
      Json parity = {{"against", baseline.implementation}, {"waived", waived}};
      parity.update(options_.parity(folder_ / baseline.trace, folder_ / test.trace));
      test.parity = std::move(parity);
    } catch (const std::exception& error) {
      observer_.OnPoolProblem(test.implementation, test.test.world_size,
                              "no parity for " + test.test.id + ": " + error.what());
    }
    if (Clock::now() - written_ > options_.refresh) Write();
  }

  const RunOptions& options_;
  RunObserver& observer_;
  const std::atomic<bool>& interrupted_;
  const fs::path folder_;
  WarmStart warm_;
  const Clock::time_point begin_ = Clock::now();
  Clock::time_point written_ = begin_;
  Results results_;
  std::vector<const Waiver*> waivers_;  // of each result; null: none
  std::vector<size_t> implementation_of_;  // of each result
  std::set<size_t> decided_;            // jobs
  int hangs_ = 0;                       // of the implementation and world size that run now
};

}  // namespace

Json PlanEntry(const ImplementationSpec& spec) {
  return {{"label", spec.label},
          {"source", spec.source},
          {"options", Json(spec.options)},
          {"device", spec.device},
          {"mutant", spec.mutant ? Json(*spec.mutant) : Json()}};
}

std::string ShellWord(const std::string& text) {
  const std::string kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%";
  if (!text.empty() && text.find_first_not_of(kPlain) == text.npos) return text;
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

Results Run(const RunOptions& options, RunObserver& observer, const std::atomic<bool>& interrupted) {
  return RunDriver(options, observer, interrupted).Go();
}

}  // namespace shardcts
