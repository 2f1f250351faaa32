#include "cli/script_run.h"

#include <map>
#include <memory>
#include <optional>

#include "cli/interrupt.h"
#include "rank/script_tests.h"
#include "results/results.h"
#include "run/test_folders.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"
#include "start/warm_process.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

class ScriptRunner {
 public:
  ScriptRunner(const RunOptions& options, const std::vector<Script>& scripts, const fs::path& folder)
      : options_(options), scripts_(scripts), folder_(folder), test_(AsTest(scripts, "script")), folders_(folder, options.storage_root) {}

  ScriptRun Run() {
    if (test_.phases.empty()) return Told(RunOne(0));
    folders_.Open(false, true);
    try {
      test_folder_ = folders_.Make(UnderTest().label, test_.id);
      ScriptRun run = RunPhases();
      folders_.Close();
      return run;
    } catch (const InputError&) {
      folders_.Close();
      throw;
    }
  }

 private:
  const ImplementationSpec& UnderTest() const { return options_.implementations.front(); }

  ScriptRun RunPhases() {
    TestResult result;
    result.test = test_;
    result.implementation = UnderTest().label;
    std::vector<PhaseResult> phases;
    while (!DecidesTest(test_, phases)) {
      phases.push_back(RunOne(phases.size()));
      CombinedVerdict& verdict = phases.back().verdict;
      const std::string problem = TestFolders::ProblemOf(test_folder_);
      if (verdict.verdict == Verdict::kPass && !problem.empty()) verdict = {Verdict::kFail, problem, {}};
    }
    SetOutcome(result, phases);
    PhaseResult last = phases.back();
    last.verdict = {result.verdict, result.reason, {}};
    if (result.verdict == Verdict::kPass || result.verdict == Verdict::kNotRun) return Told(last);
    folders_.Keep(test_folder_);
    last.verdict.reason += "; its folder: " + test_folder_.string() + folders_.Shortage();
    return Told(last);
  }

  PoolPlan PlanOf(size_t index) const {
    const Script& script = scripts_[index];
    const bool elsewhere = options_.load_with && script.role == "load";
    PoolPlan pool = NewPool(options_, elsewhere ? *options_.load_with : UnderTest(), script.world_size,
                            static_cast<int>(index), folder_);
    Plan& plan = pool.plan;
    plan.seed = static_cast<uint64_t>(script.seed);
    plan.tests = plan.recordings = {test_.id};
    plan.script = fs::absolute(script.file);
    plan.under_test = UnderTest().label;
    plan.trace_folder = Traces().parent_path();
    plan.phases.resize(1);
    if (!script.role.empty()) plan.phases.front() = PlannedPhase{index, test_folder_, script.role};
    return pool;
  }

  fs::path Traces() const { return TestTraces(TraceFolder(folder_, UnderTest().label), test_.id); }

  PhaseResult RunOne(size_t index) {
    PoolPlan pool = PlanOf(index);
    if (StartsWarm(options_) && !pool.UsesMpi()) {
      std::unique_ptr<WarmStart>& warm = warm_[WarmStart::KeyOf(pool.plan.implementation)];
      if (!warm) warm = std::make_unique<WarmStart>(pool.rank_program, pool.plan.implementation, folder_);
      pool.warm = warm->Get(pool.limits.start, InterruptFlag());
    }
    PhaseResult result;
    PoolCallbacks callbacks;
    callbacks.on_test_started = [](size_t) {};
    callbacks.on_test_over = [&](size_t, const std::vector<RankReport>& ranks, const std::optional<Incident>& incident,
                                 double seconds) { result = CombinePhase(test_, index, ranks, incident, seconds); };
    const PoolEnd end = RunPool(pool, callbacks, InterruptFlag());
    if (end.kind == PoolEnd::Kind::kInputError || end.implementation_failed) {
      throw InputError(pool.plan.implementation.label + ": " + end.reason);
    }
    if (end.kind == PoolEnd::Kind::kStartFailed) result.verdict = {Verdict::kHarnessError, end.reason, {}};
    if (end.kind == PoolEnd::Kind::kInterrupted) result.verdict = {Verdict::kNotRun, "interrupted", {}};
    result.implementation = pool.plan.implementation.label;
    return result;
  }

  ScriptRun Told(const PhaseResult& result) const {
    ScriptRun run{result.verdict.verdict, result.verdict.reason, {}, {}};
    for (const RankReport& rank : result.ranks) {
      run.failures.insert(run.failures.end(), rank.failures.begin(), rank.failures.end());
    }
    if (fs::exists(Traces())) run.trace = Traces();
    return run;
  }

  const RunOptions& options_;
  const std::vector<Script>& scripts_;
  const fs::path folder_;
  const TestCase test_;
  TestFolders folders_;
  fs::path test_folder_;
  std::map<std::string, std::unique_ptr<WarmStart>> warm_;  // by key
};

}  // namespace

ScriptRun RunScripts(const RunOptions& options, const std::vector<Script>& scripts, const fs::path& folder) {
  return ScriptRunner(options, scripts, folder).Run();
}

}  // namespace shardcts
