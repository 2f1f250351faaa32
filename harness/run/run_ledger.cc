#include "run/run_ledger.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <iterator>

#include "results/environment.h"
#include "run/earlier_run.h"
#include "run/reproduce.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

// With milliseconds: two short runs may begin in one second, and a history tells runs apart by this.
std::string NowText() {
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  std::tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  char seconds[32];
  std::strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
  char text[40];
  std::snprintf(text, sizeof(text), "%s.%03ldZ", seconds, now.tv_nsec / 1'000'000);
  return text;
}

}  // namespace

RunLedger::RunLedger(const RunOptions& options, RunObserver& observer, const fs::path& folder)
    : options_(options), observer_(observer), folder_(folder), folders_(folder, options.storage_root) {
  results_.command = options_.command;
  results_.seed = options_.seed;
  results_.started = NowText();
  results_.start = StartsWarm(options_) ? "warm" : "cold";
  results_.jobs = options_.jobs;
  results_.repeat = options_.repeat;
  results_.required_capabilities = options_.required_capabilities;
  results_.require_should = options_.require_should;
  results_.waiver_files = options_.waiver_files;
  results_.storage_root = options_.storage_root.string();
  results_.pool = options_.pool_mode == PoolMode::kFresh ? "fresh" : "shared";
  results_.environment = CaptureEnvironment(options_.launcher.empty() ? kMpiLauncher : options_.launcher);
  results_.suite_commit = SuiteCommit();
  for (const SuiteSize& suite : AllSuites()) {
    if (std::ranges::count(options_.tests, suite.name, &TestCase::suite)) results_.suites.push_back(suite);
  }
  if (options_.load_with) results_.load_with = options_.load_with->label;
  for (const ImplementationSpec& spec : AllImplementations(options_)) {
    results_.implementations.push_back(
        {spec.label, spec.source, spec.device, Json(spec.options), spec.mutant, Json(), false, Json()});
    const size_t index = results_.implementations.size() - 1;
    results_.implementations.back().loads_only = index >= options_.implementations.size();
    if (index < options_.implementations.size()) AddTests(index);
  }
}

void RunLedger::AddTests(size_t implementation) {
  const ImplementationSpec& spec = options_.implementations[implementation];
  std::vector<TestCase> tests;
  std::ranges::copy_if(options_.tests, std::back_inserter(tests),
                       [&](const TestCase& test) { return !options_.wanted || options_.wanted(spec, test); });
  for (TestCase& test : tests) {
    TestResult result;
    result.test = std::move(test);
    result.implementation = spec.label;
    result.reason = "not run yet";
    result.reproduce = ReproduceCommand(options_, spec, result.test);
    if (options_.repeat > 1) result.repetitions.assign(static_cast<size_t>(options_.repeat), {});
    waivers_.push_back(FindWaivers(options_.waivers, result.test, spec));
    implementation_of_.push_back(implementation);
    results_.tests.push_back(std::move(result));
  }
}

Unit RunLedger::NextOf(size_t job) const {
  const auto attempt = attempts_.find(job);
  if (attempt == attempts_.end()) return {job};
  return {job, attempt->second.phases.size(), attempt->second.number, attempt->second.round};
}

std::vector<Unit> RunLedger::OpenUnits(size_t implementation) const {
  const Lock lock(mutex_);
  std::vector<Unit> open;
  for (size_t job = 0; job < Jobs(); ++job) {
    if (implementation_of_[IndexOf(job)] == implementation && !decided_.contains(job)) open.push_back(NextOf(job));
  }
  return open;
}

std::vector<Unit> RunLedger::StillOpen(const std::vector<Unit>& units) const {
  const Lock lock(mutex_);
  std::vector<Unit> open;
  std::ranges::copy_if(units, std::back_inserter(open), [&](const Unit& unit) {
    const Unit next = NextOf(unit.job);
    return !decided_.contains(unit.job) && next.phase == unit.phase && next.attempt == unit.attempt &&
           next.round == unit.round;
  });
  return open;
}

TestCase RunLedger::TestOf(size_t job) const {
  const Lock lock(mutex_);
  return results_.tests[IndexOf(job)].test;
}

std::optional<size_t> RunLedger::JobOf(size_t implementation, const std::string& recording) const {
  const Lock lock(mutex_);
  if (job_of_.empty()) {
    for (size_t job = 0; job < Jobs(); ++job) {
      const std::string& id = results_.tests[IndexOf(job)].test.id;
      job_of_[{implementation_of_[IndexOf(job)], RecordingName(id, RepetitionOf(job))}] = job;
    }
  }
  const auto found = job_of_.find({implementation, recording});
  return found == job_of_.end() ? std::nullopt : std::optional(found->second);
}

void RunLedger::GoOnWith(const EarlierRun& earlier) {
  earlier.RequireSame(ToJson(results_));
  const Lock lock(mutex_);
  results_.started = earlier.started();
  earlier_seconds_ = earlier.seconds();
  for (ImplementationResult& implementation : results_.implementations) {
    implementation.warm = earlier.WarmOf(implementation.label);
  }
}

size_t RunLedger::AddPools(size_t implementation, int world_size) {
  const Lock lock(mutex_);
  results_.pools.push_back({results_.implementations[implementation].label, world_size, 0, {}, 0, {}});
  return results_.pools.size() - 1;
}

int RunLedger::BeginPool(size_t pools, size_t tests) {
  const Lock lock(mutex_);
  PoolResult& entry = results_.pools[pools];
  observer_.OnPoolStart(entry.implementation, entry.world_size, tests);
  return entry.starts++;
}

void RunLedger::EndPool(size_t pools, const PoolEnd& end) {
  const Lock lock(mutex_);
  PoolResult& entry = results_.pools[pools];
  ImplementationResult& implementation =
      *std::ranges::find(results_.implementations, entry.implementation, &ImplementationResult::label);
  if (end.start_seconds) entry.start_seconds.push_back(*end.start_seconds);
  if (end.warm) ++entry.warm_starts;
  if (implementation.description.is_null()) implementation.description = end.implementation;
  AddImplementationNotes(end.implementation, results_.environment);
  if (end.reason.empty() || end.kind == PoolEnd::Kind::kInterrupted || end.kind == PoolEnd::Kind::kInputError) return;
  entry.problems.push_back(end.reason);
  if (end.kind == PoolEnd::Kind::kBroken) return;  // the verdict of the test that broke it says the same
  observer_.OnPoolProblem(entry.implementation, entry.world_size, end.reason);
}

void RunLedger::Describe(size_t implementation, const Json& said) {
  const Lock lock(mutex_);
  results_.implementations[implementation].description = said;
  AddImplementationNotes(said, results_.environment);
}

void RunLedger::DescribeWarmStart(size_t implementation, const Json& said) {
  const Lock lock(mutex_);
  results_.implementations[implementation].warm = said;
}

void RunLedger::TellStarted(size_t job) {
  const Lock lock(mutex_);
  observer_.OnTestStarted(ResultOf(job));
}

// What is known of a result before its test has run.
TestResult RunLedger::Blank(size_t job) {
  const TestResult& result = ResultOf(job);
  TestResult blank;
  blank.test = result.test;
  blank.implementation = result.implementation;
  blank.reproduce = result.reproduce;
  return blank;
}

Verdict RunLedger::Finish(const Unit& unit, const Plan& plan, const std::vector<RankReport>& ranks,
                          const std::optional<Incident>& incident, double seconds) {
  const Lock lock(mutex_);
  if (!ResultOf(unit.job).test.phases.empty()) return FinishPhase(unit, plan, ranks, incident, seconds);
  TestResult outcome = Blank(unit.job);
  SetOutcome(outcome, ranks, incident, seconds);
  outcome.log = plan.pool_folder.lexically_relative(folder_).string();
  const Verdict verdict = outcome.verdict;
  Conclude(unit.job, plan.trace_folder, std::move(outcome));
  return verdict;
}

// Of a test that has been run: takes its waiver, recording and folder into account.
void RunLedger::Conclude(size_t job, const fs::path& trace_folder, TestResult outcome) {
  decided_.insert(job);
  if (!options_.require_should) outcome.verdict = AsAdvice(outcome.test, outcome.verdict);
  RequireCapabilities(options_.required_capabilities, outcome);
  const size_t index = IndexOf(job);
  const bool of_base = waivers_[index].empty();
  // What passes here may be mended where the software below is not: that is no reason to remove the waiver.
  if (const Waiver* waiver = WaiverOf(index); waiver && !(of_base && outcome.verdict == Verdict::kPass)) {
    const size_t implementation = implementation_of_[index];
    ApplyWaiver(*waiver, options_.today, of_base ? BaseVersionOf(implementation) : VersionOf(implementation), outcome);
  }
  SettleFolder(job, outcome);
  outcome.trace = KeepRecording(trace_folder, job, outcome);
  Take(job, std::move(outcome));
  TellWhenOver(job);
  WriteWhenStale();
}

void RunLedger::Take(size_t job, TestResult outcome) {
  if (options_.repeat == 1) {
    ResultOf(job) = std::move(outcome);
  } else {
    AddRepetition(RepetitionOf(job), std::move(outcome), ResultOf(job));
  }
}

// Once for each test, when its last repetition is decided.
void RunLedger::TellWhenOver(size_t job) {
  for (size_t other = IndexOf(job); other < Jobs(); other += results_.tests.size()) {
    if (!decided_.contains(other)) return;
  }
  observer_.OnTestOver(ResultOf(job));
}

// What the implementation says that it is based on, and its version, are known when it runs.
const Waiver* RunLedger::WaiverOf(size_t index) const {
  const size_t implementation = implementation_of_[index];
  if (!waivers_[index].empty()) return WaiverFor(waivers_[index], VersionOf(implementation));
  return WaiverFor(FindWaiversOfBase(options_.waivers, results_.tests[index].test, BaseOf(implementation),
                                     results_.implementations[implementation].device),
                   BaseVersionOf(implementation));
}

std::string RunLedger::BaseOf(size_t implementation) const {
  const Json& said = results_.implementations[implementation].description;
  return said.is_object() ? said.value("based_on", "") : "";
}

std::string RunLedger::BaseVersionOf(size_t implementation) const {
  const Json& said = results_.implementations[implementation].description;
  const Json note = said.is_object() ? said.value("notes", Json::object()).value(BaseOf(implementation), Json()) : Json();
  return note.is_string() ? note.get<std::string>() : VersionOf(implementation);
}

std::string RunLedger::VersionOf(size_t implementation) const {
  const Json& description = results_.implementations[implementation].description;
  return description.is_object() ? description.value("version", "") : "";
}

// The folder of the ranks' traces, relative to the run folder; empty when there is none. Of repetitions that come to the same as the
// first one there is none: many repetitions must not fill the disk.
std::string RunLedger::KeepRecording(const fs::path& trace_folder, size_t job, const TestResult& outcome) {
  const fs::path traces = TestTraces(trace_folder, RecordingName(outcome.test.id, RepetitionOf(job)));
  if (RepetitionOf(job) > 0 && ResultOf(job).repetitions.front().verdict == outcome.verdict) fs::remove_all(traces);
  return fs::exists(traces) ? traces.lexically_relative(folder_).string() : "";
}

void RunLedger::DecideOne(size_t job, Verdict verdict, const std::string& reason) {
  TestResult outcome = Blank(job);
  outcome.verdict = verdict;
  outcome.reason = reason;
  if (const auto attempt = attempts_.find(job); attempt != attempts_.end()) {
    outcome.phases = attempt->second.phases;  // those that have passed
    if (!attempt->second.folder.empty()) folders_.Remove(attempt->second.folder);
    attempts_.erase(attempt);
  }
  Take(job, std::move(outcome));
}

void RunLedger::Decide(const std::vector<Unit>& units, Verdict verdict, const std::string& reason) {
  const Lock lock(mutex_);
  for (const Unit& unit : units) {
    if (!decided_.insert(unit.job).second) continue;
    DecideOne(unit.job, verdict, WithPhase(ResultOf(unit.job).test, unit.phase, reason, OtherRunnerOf(unit)));
    TellWhenOver(unit.job);
  }
  WriteNow();
}

size_t RunLedger::GiveUp(const std::string& reason) {
  const Lock lock(mutex_);
  size_t given_up = 0;
  for (size_t job = 0; job < Jobs(); ++job) {
    if (decided_.contains(job)) continue;
    DecideOne(job, Verdict::kNotRun, reason);
    ++given_up;
  }
  return given_up;
}

void RunLedger::CompareAll(const std::atomic<bool>& interrupted) {
  const Lock lock(mutex_);
  if (!options_.parity || options_.baseline.empty()) return;
  std::map<std::string, const TestResult*> baseline;
  for (const TestResult& test : results_.tests) {
    if (test.implementation == options_.baseline) baseline[test.test.id] = &test;
  }
  size_t done = 0;
  for (TestResult& test : results_.tests) {
    if (interrupted) return;
    if (test.implementation == options_.baseline) continue;
    observer_.OnParity(test.implementation, ++done, results_.tests.size() - baseline.size());
    if (const TestResult* other = baseline[test.test.id]; other != nullptr) Compare(*other, test);
  }
}

// Why what differs in the recordings of one test is no news; empty: it is.
std::string RunLedger::ApartBecause(const TestResult& baseline, const TestResult& test) const {
  const auto dies = [](const TestPhase& phase) { return phase.role == "crash"; };
  if (std::ranges::any_of(test.test.phases, dies)) return "where ranks are killed follows from the files that are made";
  std::vector<ComparedImplementation> implementations;
  for (const TestResult* one : {&baseline, &test}) {
    if (one->verdict == Verdict::kWaived || one->verdict == Verdict::kAdvice) return ToString(one->verdict);
    const size_t index = one - results_.tests.data();
    const size_t implementation = implementation_of_[index];
    implementations.push_back({options_.implementations[implementation].source, VersionOf(implementation)});
    implementations.push_back({BaseOf(implementation), BaseVersionOf(implementation)});
  }
  const KnownDifference* known = FindKnownDifference(options_.known_differences, test.test, implementations);
  return known == nullptr ? "" : known->place + ": " + known->reason;
}

void RunLedger::Compare(const TestResult& baseline, TestResult& test) {
  if (baseline.trace.empty() || test.trace.empty()) return;
  try {
    const std::string apart = ApartBecause(baseline, test);
    Json parity = {{"against", baseline.implementation}, {"waived", !apart.empty()}};
    if (!apart.empty()) parity["apart"] = apart;
    parity.update(options_.parity(folder_ / baseline.trace, folder_ / test.trace));
    test.parity = std::move(parity);
  } catch (const std::exception& error) {
    observer_.OnPoolProblem(test.implementation, test.test.world_size,
                            "no parity for " + test.test.id + ": " + error.what());
  }
  WriteWhenStale();
}

void RunLedger::WriteNow() {
  if (lock_ == nullptr) return;
  lock_->Check();
  results_.seconds = earlier_seconds_ + std::chrono::duration<double>(Clock::now() - begin_).count();
  const auto started = Clock::now();
  WriteResults(results_, folder_);
  written_ = Clock::now();
  last_write_took_ = written_ - started;
}

void RunLedger::WriteWhenStale() {
  // A run of tens of thousands of tests must not spend its time on writing them all again.
  constexpr int kShareOfWrites = 20;
  const Clock::duration pause = std::max<Clock::duration>(options_.refresh, kShareOfWrites * last_write_took_);
  if (Clock::now() - written_ > pause) WriteNow();
}

void RunLedger::Write() {
  const Lock lock(mutex_);
  WriteNow();
}

Results RunLedger::Close(bool complete) {
  const Lock lock(mutex_);
  results_.complete = complete;
  std::error_code none;
  if (closes_folders_) folders_.Close();
  fs::remove_all(BlobFolder(folder_) / "unfinished", none);  // what ranks that were killed were writing
  WriteNow();
  return std::move(results_);
}

}  // namespace shardcts
