// shardcts exec and replay: a list of operations, written by hand or recorded, on an implementation.
#include <fmt/format.h>

#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "parity/parity.h"
#include "rank/script.h"
#include "recording/recording.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"
#include "start/warm_process.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

struct ScriptCommand {
  std::string file;
  int world = 0;  // 0: what the script says
  ImplementationFlags implementation{false};
  PoolFlags pool;
  OutFlag out;
};

struct ScriptRun {
  CombinedVerdict verdict;
  std::vector<RankReport> ranks;
  fs::path trace;  // empty: nothing was recorded
};

PoolPlan MakePlan(const RunOptions& options, const Script& script, const ImplementationSpec& spec,
                  const fs::path& folder) {
  PoolPlan pool = NewPool(options, spec, script.world_size, 0, folder);
  Plan& plan = pool.plan;
  plan.seed = static_cast<uint64_t>(script.seed);
  plan.tests = {"script"};
  plan.script = fs::absolute(script.file);
  return pool;
}

ScriptRun RunOnPool(PoolPlan pool, bool warm_wanted) {
  const Plan& plan = pool.plan;
  WarmStart warm(pool.rank_program, plan.implementation, plan.run_folder);
  if (warm_wanted && !pool.UsesMpi()) pool.warm = warm.Get(pool.limits.start, InterruptFlag());
  ScriptRun run;
  TestCase test;
  test.id = "script";
  test.world_size = plan.world_size;
  PoolCallbacks callbacks;
  callbacks.on_test_started = [](size_t) {};
  callbacks.on_test_over = [&](size_t, const std::vector<RankReport>& ranks, const std::optional<Incident>& incident,
                               double) {
    run.verdict = Combine(test, ranks, incident);
    run.ranks = ranks;
  };
  const PoolEnd end = RunPool(pool, callbacks, InterruptFlag());
  if (end.kind == PoolEnd::Kind::kInputError) throw InputError(end.reason);
  if (end.kind == PoolEnd::Kind::kStartFailed) run.verdict = {Verdict::kHarnessError, end.reason, {}};
  if (end.kind == PoolEnd::Kind::kInterrupted) run.verdict = {Verdict::kNotRun, "interrupted", {}};
  const fs::path traces = TestTraces(plan.trace_folder, "script");
  if (fs::exists(traces)) run.trace = traces;
  return run;
}

Script Prepare(const ScriptCommand& command, const Recording& recording) {
  Script script = ReadScript(recording, command.file);
  if (command.world > 0 && command.world != script.world_size) {
    throw InputError(
        fmt::format("{}: is for {} ranks, --world says {}", command.file, script.world_size, command.world));
  }
  UseDevice(script, command.implementation.Specs().front().device);
  return script;
}

ScriptRun RunScriptCommand(const ScriptCommand& command, const Script& script) {
  const fs::path folder = fs::absolute(command.out.Folder());
  const FolderLock lock = PrepareRunFolder(folder);
  RunOptions options;
  command.pool.Apply(options);
  const ImplementationSpec spec = command.implementation.Specs().front();
  const ScriptRun run = RunOnPool(MakePlan(options, script, spec, folder), StartsWarm(options));
  for (size_t rank = 0; rank < run.ranks.size(); ++rank) {
    for (const Failure& failure : run.ranks[rank].failures)
      std::cout << "rank " << rank << ": " << failure.message << "\n";
  }
  return run;
}

void PrintVerdict(const ScriptRun& run, Verdict verdict, const std::string& reason) {
  std::cout << ToString(verdict) << (reason.empty() ? "" : ": " + reason) << "\n"
            << "recorded: " << (run.trace.empty() ? "nothing" : run.trace.string()) << std::endl;
}

int Exec(const ScriptCommand& command) {
  const ScriptRun run = RunScriptCommand(command, Prepare(command, ReadRecording(command.file)));
  PrintVerdict(run, run.verdict.verdict, run.verdict.reason);
  return ExitCode({run.verdict.verdict}, run.verdict.verdict != Verdict::kNotRun);
}

// The recording's own outcomes are what is expected.
int Replay(const ScriptCommand& command) {
  const Recording recording = ReadRecording(command.file);
  const Script script = Prepare(command, recording);
  if (!script.steps.front().recorded) {
    throw InputError(command.file + ": holds no recorded outcomes; run it with `shardcts exec`");
  }
  const ScriptRun run = RunScriptCommand(command, script);
  Verdict verdict = run.verdict.verdict;
  std::string reason = run.verdict.reason;
  if (!run.trace.empty()) {
    const Parity parity = CompareRecordings(recording, ReadRecording(run.trace));
    std::cout << parity.Counts() << "\n";
    if (!parity.FirstDifference().empty()) std::cout << "first difference: " << parity.FirstDifference() << "\n";
    if (verdict == Verdict::kPass && !parity.Agree()) {
      verdict = Verdict::kFail;
      reason = "the outcomes are not the recorded ones";
    }
  }
  PrintVerdict(run, verdict, reason);
  return ExitCode({verdict}, verdict != Verdict::kNotRun);
}

CLI::App* AddScriptCommand(CLI::App& app, const char* name, const char* text,
                           const std::shared_ptr<ScriptCommand>& command) {
  CLI::App* sub = app.add_subcommand(name, text);
  sub->add_option("file", command->file, "a script, a recorded test (OUT/traces/IMPL/TEST), or what `export` wrote")
      ->required()
      ->type_name("FILE");
  sub->add_option("--world", command->world, "ranks; must be what the script says")->check(CLI::Range(1, 4096));
  command->implementation.AddTo(*sub);
  command->pool.AddTo(*sub);
  command->out.AddTo(*sub);
  return sub;
}

}  // namespace

void AddExecCommand(CLI::App& app) {
  const auto command = std::make_shared<ScriptCommand>();
  CLI::App* sub = AddScriptCommand(app, "exec",
                                   "Runs a list of operations on an implementation and records the outcomes.", command);
  sub->footer(
      "Exit code: 0 every operation did what the script expects, 1 one did not, 2 wrong input, 3 harness error.");
  sub->callback([command] {
    if (const int code = Exec(*command)) throw CLI::RuntimeError(code);
  });
}

void AddReplayCommand(CLI::App& app) {
  const auto command = std::make_shared<ScriptCommand>();
  CLI::App* sub =
      AddScriptCommand(app, "replay", "Runs a recorded test on an implementation and compares the outcomes.", command);
  sub->footer("Exit code: 0 the outcomes agree with the recording, 1 they do not, 2 wrong input, 3 harness error.");
  sub->callback([command] {
    if (const int code = Replay(*command)) throw CLI::RuntimeError(code);
  });
}

}  // namespace shardcts
