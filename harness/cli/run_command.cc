// shardcts run: the selected tests on one or more implementations.
#include <algorithm>
#include <iostream>
#include <memory>
#include <set>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "contract/nearest_name.h"
#include "run/reproduce.h"
#include "run_files/input_error.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

struct RunCommand {
  SelectionFlags selection;
  ProfileFlags profile;
  ImplementationFlags implementations{true};
  WaiverFlags waivers;
  PoolFlags pool;
  JobsFlag jobs;
  LoadWithFlag load_with;
  StorageFlags storage;
  OutFlag out;
  bool go_on = false;
  int repeat = 1;
  std::vector<std::string> required;
  bool require_should = false;
  std::string pool_mode = "shared";
  std::string baseline;
};

// The label to compare with: the one asked for, else torch when it is there and not alone; empty: none.
std::string BaselineLabel(const std::string& asked, const std::vector<ImplementationSpec>& specs) {
  const std::string label = asked.empty() ? "torch" : ParseImplementationSpec(asked).label;
  const bool there = std::any_of(specs.begin(), specs.end(), [&](const auto& spec) { return spec.label == label; });
  if (!there && !asked.empty())
    throw InputError("--baseline " + asked + ": is not among the implementations given with --impl");
  return there && specs.size() > 1 ? label : "";
}

// What a test of this build can need.
void CheckCapabilities(const std::vector<std::string>& required) {
  std::set<std::string> known;
  for (const TestCase& test : AllTests()) known.insert(test.capabilities.begin(), test.capabilities.end());
  for (const std::string& name : required) {
    if (!known.contains(name)) throw InputError("--require " + name + ": " + UnknownName("capability", name, known));
  }
}

RunOptions MakeOptions(const RunCommand& command) {
  RunOptions options;
  options.implementations = command.implementations.Specs();
  options.tests = command.selection.SelectTests();
  CheckCapabilities(command.required);
  options.required_capabilities = command.required;
  if (const std::optional<Profile> profile = command.profile.Read(options.tests)) {
    options.tests = profile->tests;
    options.required_capabilities.insert(options.required_capabilities.end(), profile->required.begin(),
                                         profile->required.end());
  }
  options.require_should = command.require_should;
  options.waivers = command.waivers.Waivers();
  options.waiver_files = command.waivers.Files();
  options.known_differences = LoadKnownDifferences();
  options.repeat = command.repeat;
  options.baseline = BaselineLabel(command.baseline, options.implementations);
  options.pool_mode = command.pool_mode == "fresh" ? PoolMode::kFresh : PoolMode::kShared;
  if (command.go_on && !command.out.given()) throw InputError("--continue: needs the run folder, --out DIR");
  options.run_folder = command.out.Folder();
  options.go_on = command.go_on;
  command.pool.Apply(options);
  options.load_with = command.load_with.Spec(std::ranges::any_of(options.tests, [](const TestCase& test) {
    return std::ranges::any_of(test.phases, &TestPhase::loads);
  }));
  options.jobs = command.jobs.Jobs(options);
  options.storage_root = command.storage.Root();
  SetCommand(options);
  return options;
}

int PrintEnd(const Results& results, const RunOptions& options, const char* incomplete) {
  std::vector<Verdict> verdicts;
  for (const TestResult& test : results.tests) verdicts.push_back(test.verdict);
  const int code = ExitCode(verdicts, results.complete);
  std::cout << SummaryTable(results) << (results.complete ? "" : incomplete)
            << "results: " << (options.run_folder / "results.json").string() << "\n";
  if (code != 0) {
    std::cout << "by cause: " << options.program << " report " << ShellWord(options.run_folder.string())
              << " --format text\n";
  }
  std::cout << std::flush;
  return code;
}

int ExecuteRun(const RunCommand& command, const ParityFunction& parity) {
  RunOptions options = MakeOptions(command);
  options.parity = parity;
  const std::atomic<bool>& interrupted = InterruptFlag();
  ProgressPrinter progress(std::cout, ScreenStyle::Detect(), options.tests.size() * options.implementations.size());
  const Results results = Run(options, progress, interrupted);
  progress.Clear();
  return PrintEnd(results, options, "interrupted; ");
}

struct RecoverCommand {
  std::string folder;
  std::string rank_program;
};

int ExecuteRecover(const RecoverCommand& command, const ParityFunction& parity) {
  RunOptions options;
  options.run_folder = command.folder;
  options.rank_program =
      command.rank_program.empty() ? ProgramFolder() / "shardcts-rank" : std::filesystem::absolute(command.rank_program);
  options.parity = parity;
  ProgressPrinter progress(std::cout, ScreenStyle::Detect(), 0);
  const Results results = Recover(options, progress, InterruptFlag());
  progress.Clear();
  return PrintEnd(results, options, "not complete: shardcts run --continue runs the rest; ");
}

}  // namespace

void AddRunCommand(CLI::App& app, ParityFunction parity) {
  CLI::App* sub = app.add_subcommand("run", "Runs the suites on implementations.");
  sub->footer(
      "Exit code: 0 conforms, 1 a conformance failure, 2 the command or its input is wrong,\n"
      "3 a harness error, nothing passed, or interrupted.");
  const auto command = std::make_shared<RunCommand>();
  command->implementations.AddTo(*sub);
  command->selection.AddTo(*sub);
  command->profile.AddTo(*sub);
  command->waivers.AddTo(*sub);
  sub->add_option("--require", command->required,
                  "a test that needs this capability and is not supported fails; may repeat")
      ->type_name("CAPABILITY");
  sub->add_flag("--require-should", command->require_should,
                "a rule of level SHOULD that does not hold fails, in place of being advice");
  sub->add_option("--repeat", command->repeat,
                  "how often each test runs; different verdicts make it flaky, which is red")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  command->pool.AddTo(*sub);
  command->jobs.AddTo(*sub);
  command->load_with.AddTo(*sub);
  command->storage.AddTo(*sub);
  command->out.AddTo(*sub);
  sub->add_flag("--continue", command->go_on,
                "go on with the run that --out holds and that was cut short: only tests without a verdict run");
  sub->add_option("--pool", command->pool_mode, "ranks are started once per world size, or anew for each test")
      ->capture_default_str()
      ->check(CLI::IsMember({"shared", "fresh"}));
  sub->add_option("--baseline", command->baseline,
                  "compare traces with this one of the implementations (default torch)")
      ->type_name("NAME");
  sub->callback([command, parity] {
    const int code = ExecuteRun(*command, parity);
    if (code != 0) throw CLI::RuntimeError(code);
  });
}

void AddRecoverCommand(CLI::App& app, ParityFunction parity) {
  CLI::App* sub = app.add_subcommand(
      "recover", "Makes results.json from the event files of a run whose own end was lost (killed, disk full).");
  sub->footer("Exit code: as of run; 3 when a test has no verdict.");
  const auto command = std::make_shared<RecoverCommand>();
  sub->add_option("folder", command->folder, "the run folder")->required()->type_name("DIR");
  sub->add_option("--rank-program", command->rank_program, "the program that is one rank")->group("");
  sub->callback([command, parity] {
    if (const int code = ExecuteRecover(*command, parity)) throw CLI::RuntimeError(code);
  });
}

}  // namespace shardcts
