// shardcts exec and replay: a list of operations, written by hand or recorded, on an implementation.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "cli/script_run.h"
#include "parity/parity.h"
#include "rank/script.h"
#include "rank/script_tests.h"
#include "recording/recording.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

struct ScriptCommand {
  std::string file;
  JobsFlag jobs;  // of a folder
  int world = 0;  // 0: what the script says
  ImplementationFlags implementation{false};
  LoadWithFlag load_with;
  StorageFlags storage;
  PoolFlags pool;
  OutFlag out;
};

std::vector<Script> Prepare(const ScriptCommand& command, const Recording& recording) {
  std::vector<Script> scripts = ReadScripts(recording, command.file);
  const int world_size = scripts.front().world_size;
  if (command.world > 0 && !scripts.front().role.empty()) {
    throw InputError(command.file + ": has phases, which say their numbers of ranks; --world is for scripts without");
  }
  if (command.world > 0 && command.world != world_size) {
    throw InputError(fmt::format("{}: is for {} ranks, --world says {}", command.file, world_size, command.world));
  }
  return scripts;
}

ScriptRun RunScriptCommand(const ScriptCommand& command, std::vector<Script> scripts) {
  RunOptions options;
  command.pool.Apply(options);
  options.implementations = command.implementation.Specs();
  options.storage_root = command.storage.Root();
  const bool loads = std::ranges::count(scripts, "load", &Script::role) > 0;
  options.load_with = command.load_with.Spec(loads);
  for (Script& script : scripts) {
    const bool elsewhere = options.load_with && script.role == "load";
    UseDevice(script, (elsewhere ? *options.load_with : options.implementations.front()).device);
  }
  const fs::path folder = fs::absolute(command.out.Folder());
  const FolderLock lock = PrepareRunFolder(folder);
  ScriptRun run = RunScripts(options, scripts, folder);
  for (const Failure& failure : run.failures) {
    std::cout << "rank " << failure.rank << ": " << OneLine(failure.message) << "\n";
  }
  return run;
}

void PrintVerdict(const ScriptRun& run, Verdict verdict, const std::string& reason) {
  std::cout << ToString(verdict) << (reason.empty() ? "" : ": " + OneLine(reason)) << "\n"
            << "recorded: " << (run.trace.empty() ? "nothing" : run.trace.string()) << std::endl;
}

// All scripts of a folder, on as few pools as their worlds need.
int ExecAll(const ScriptCommand& command) {
  if (command.world > 0) throw InputError(command.file + ": a folder of scripts, which say their numbers of ranks");
  RunOptions options;
  options.scripts = fs::absolute(command.file).lexically_normal();
  options.tests = TestsOfScripts(options.scripts);
  command.pool.Apply(options);
  options.implementations = command.implementation.Specs();
  options.storage_root = command.storage.Root();
  options.load_with = command.load_with.Spec(
      std::ranges::any_of(options.tests, [](const TestCase& test) { return std::ranges::any_of(test.phases, &TestPhase::loads); }));
  options.run_folder = command.out.Folder();
  options.jobs = command.jobs.Jobs(options);
  SetCommand(options);
  ProgressPrinter progress(std::cout, ScreenStyle::Detect(), options.tests.size());
  const Results results = Run(options, progress, InterruptFlag());
  progress.Clear();
  std::vector<Verdict> verdicts;
  for (const TestResult& test : results.tests) verdicts.push_back(test.verdict);
  std::cout << SummaryTable(results) << "results: " << (options.run_folder / "results.json").string() << std::endl;
  return ExitCode(verdicts, results.complete);
}

int Exec(const ScriptCommand& command) {
  if (HoldsScripts(command.file)) return ExecAll(command);
  const ScriptRun run = RunScriptCommand(command, Prepare(command, ReadRecording(command.file)));
  PrintVerdict(run, run.verdict, run.reason);
  return ExitCode({run.verdict}, run.verdict != Verdict::kNotRun);
}

// The recording's own outcomes are what is expected.
int Replay(const ScriptCommand& command) {
  const Recording recording = ReadRecording(command.file);
  const std::vector<Script> scripts = Prepare(command, recording);
  const auto recorded = [](const Script& script) { return script.steps.front().recorded; };
  if (!std::ranges::all_of(scripts, recorded)) {
    throw InputError(command.file + ": holds no recorded outcomes; run it with `shardcts exec`");
  }
  const ScriptRun run = RunScriptCommand(command, scripts);
  Verdict verdict = run.verdict;
  std::string reason = run.reason;
  if (!run.trace.empty()) {
    const Parity parity = CompareRecordings(recording, ReadRecording(run.trace));
    std::cout << parity.Counts() << "\n";
    const std::string first = OneLine(parity.FirstDifference());
    if (!first.empty()) std::cout << "first difference: " << first << "\n";
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
  sub->add_option("file", command->file, "a script, a recorded test (OUT/traces/IMPL/TEST), or what `export` wrote; exec: or a folder of scripts")
      ->required()
      ->type_name("FILE");
  sub->add_option("--world", command->world, "ranks; must be what the script says")->check(CLI::Range(1, 4096));
  command->implementation.AddTo(*sub);
  command->load_with.AddTo(*sub);
  command->storage.AddTo(*sub);
  command->pool.AddTo(*sub);
  command->out.AddTo(*sub);
  return sub;
}

}  // namespace

void AddExecCommand(CLI::App& app) {
  const auto command = std::make_shared<ScriptCommand>();
  CLI::App* sub = AddScriptCommand(app, "exec",
                                   "Runs a list of operations on an implementation and records the outcomes.", command);
  command->jobs.AddTo(*sub);
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
