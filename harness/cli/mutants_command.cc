// shardcts mutants: every seeded bug on an implementation, and which tests notice it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "mutants/mutant.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

struct MutantsCommand {
  SelectionFlags selection;
  ImplementationFlags implementation{false};
  WaiverFlags waivers;
  PoolFlags pool;
  JobsFlag jobs;
  OutFlag out;
  std::vector<std::string> names;
  bool all_tests = false;
};

// What one mutant came to.
struct Kill {
  const MutantInfo* info = nullptr;
  std::vector<std::pair<std::string, std::string>> by;  // test id, check ("" outside a check)
  bool expected_check_hit = false;
  bool ran = true;  // every test got a verdict of the implementation
  bool Killed() const { return !by.empty(); }
};

// Whether one of the checks that one would expect to kill the mutant is in this test.
bool IsExpectedToKill(const MutantInfo& info, const TestCase& test) {
  return test.world_size >= info.min_world_size && std::ranges::count(info.suites, test.suite) > 0 &&
         std::ranges::any_of(info.expected_checks,
                             [&](const std::string& check) { return check.starts_with(test.function + " "); });
}

bool IsExpectedToKill(const MutantInfo& info, const std::vector<TestCase>& tests) {
  return std::ranges::any_of(tests, [&](const TestCase& test) { return IsExpectedToKill(info, test); });
}

// Those named, or all that one of the tests is expected to kill.
std::vector<const MutantInfo*> SelectMutants(const std::vector<std::string>& names,
                                             const std::vector<TestCase>& tests) {
  std::vector<const MutantInfo*> infos;
  for (const std::string& name : names) infos.push_back(&MutantNamed(name));
  if (!names.empty()) return infos;
  for (const MutantInfo& info : AllMutants()) {
    if (IsExpectedToKill(info, tests)) infos.push_back(&info);
  }
  if (infos.empty()) throw InputError("no selected test is expected to kill a mutant");
  return infos;
}

ImplementationSpec WithMutant(const ImplementationSpec& base, const std::string& mutant) {
  if (base.mutant) throw InputError("--impl " + base.label + ": is a mutant already");
  std::string label = base.label;
  label.insert(std::min(label.find(','), label.size()), "+mutant=" + mutant);
  return ParseImplementationSpec(label);
}

void AddFindings(const TestResult& test, Kill& kill) {
  if (test.verdict == Verdict::kHarnessError || test.verdict == Verdict::kNotRun) kill.ran = false;
  // A rule of level SHOULD notices a bug as well as any other.
  if (!IsConformanceFailure(test.verdict) && test.verdict != Verdict::kAdvice) return;
  std::vector<std::string> checks;
  for (const RankReport& rank : test.ranks) {
    for (const Failure& failure : rank.failures) {
      if (!std::ranges::count(checks, failure.check)) checks.push_back(failure.check);
    }
  }
  if (checks.empty()) checks.push_back("");
  for (const std::string& check : checks) {
    kill.by.emplace_back(test.test.id, check);
    if (std::ranges::count(kill.info->expected_checks, test.test.function + " " + check))
      kill.expected_check_hit = true;
  }
}

std::string VerdictOf(const Kill& kill) { return !kill.ran ? "incompetent" : kill.Killed() ? "killed" : "survived"; }

Json ToJson(const std::string& implementation, const Results& results, const std::vector<Kill>& kills) {
  Json mutants = Json::array();
  for (const Kill& kill : kills) {
    Json killed_by = Json::array();
    for (const auto& [test, check] : kill.by) {
      if (kill.ran) killed_by.push_back({{"test", test}, {"check", check.empty() ? Json() : Json(check)}});
    }
    mutants.push_back({{"name", kill.info->name},
                       {"description", kill.info->description},
                       {"models", kill.info->models},
                       {"expected_checks", kill.info->expected_checks},
                       {"killed_by", killed_by},
                       {"verdict", VerdictOf(kill)},
                       {"expected_check_hit", kill.expected_check_hit}});
  }
  return {{"schema_version", 1},
          {"implementation", implementation},
          {"suite_commit", results.suite_commit},
          {"started", results.started},
          {"mutants", mutants}};
}

// Returns whether every mutant was killed by a check that one would expect.
bool PrintTable(const std::vector<Kill>& kills) {
  bool all = true;
  for (const Kill& kill : kills) {
    const bool good = kill.ran && kill.Killed() && kill.expected_check_hit;
    all = all && good;
    const std::string first =
        kill.Killed() ? fmt::format("{} {}", kill.by.front().first, kill.by.front().second) : "no test noticed it";
    std::cout << fmt::format(
        "{:<12} {:<28} {:>3} findings{}; first: {}\n", VerdictOf(kill), kill.info->name, kill.by.size(),
        kill.expected_check_hit ? "" : ", none by " + fmt::format("{}", fmt::join(kill.info->expected_checks, " or ")),
        first);
  }
  const auto killed = std::ranges::count_if(kills, [](const Kill& kill) { return kill.ran && kill.Killed(); });
  const auto expected = std::ranges::count_if(kills, &Kill::expected_check_hit);
  std::cout << fmt::format("{} of {} mutants killed, {} by a check that one would expect\n", killed, kills.size(), expected);
  return all;
}

int Execute(const MutantsCommand& command) {
  RunOptions options;
  command.pool.Apply(options);
  const ImplementationSpec base = command.implementation.Specs().front();
  options.tests = command.selection.SelectTests();
  std::vector<Kill> kills;
  for (const MutantInfo* info : SelectMutants(command.names, options.tests)) {
    kills.push_back({.info = info});
    options.implementations.push_back(WithMutant(base, info->name));
  }
  // The implementation itself must be green, or a failure says nothing about the mutant.
  options.implementations.insert(options.implementations.begin(), base);
  if (!command.all_tests) {
    options.wanted = [tests = options.tests](const ImplementationSpec& spec, const TestCase& test) {
      if (!spec.mutant) return true;
      const MutantInfo& info = MutantNamed(*spec.mutant);
      return IsExpectedToKill(info, test) || !IsExpectedToKill(info, tests);
    };
  }
  options.jobs = command.jobs.Jobs(options);
  options.waivers = command.waivers.Waivers();
  options.waiver_files = command.waivers.Files();
  options.run_folder = command.out.Folder();
  options.command = "shardcts mutants --impl " + base.label;
  options.trace = "digest";
  size_t jobs = 0;
  for (const ImplementationSpec& spec : options.implementations) {
    jobs += std::ranges::count_if(
        options.tests, [&](const TestCase& test) { return !options.wanted || options.wanted(spec, test); });
  }
  ProgressPrinter progress(std::cout, ScreenStyle::Detect(), jobs);
  const Results results = Run(options, progress, InterruptFlag());
  progress.Clear();
  if (!results.complete) return ExitCode({Verdict::kNotRun}, false);

  std::vector<Verdict> base_verdicts;
  for (const TestResult& test : results.tests) {
    if (test.implementation == base.label) base_verdicts.push_back(test.verdict);
    const auto spec = std::ranges::find(options.implementations, test.implementation, &ImplementationSpec::label);
    if (spec->mutant) AddFindings(test, kills[spec - options.implementations.begin() - 1]);
  }
  WriteFileAtomically(options.run_folder / "mutants.json", ToJson(base.label, results, kills).dump(1) + "\n");
  const bool all = PrintTable(kills);
  std::cout << "kill table: " << (options.run_folder / "mutants.json").string() << std::endl;
  if (const int code = ExitCode(base_verdicts, true)) {
    std::cout << base.label << " itself is not green: the table proves nothing" << std::endl;
    return code;
  }
  return all ? 0 : 1;
}

}  // namespace

void AddMutantsCommand(CLI::App& app) {
  CLI::App* sub =
      app.add_subcommand("mutants", "Seeds every known bug into an implementation and shows which tests notice it.");
  const auto command = std::make_shared<MutantsCommand>();
  command->implementation.AddTo(*sub);
  command->selection.AddTo(*sub);
  command->waivers.AddTo(*sub);
  command->pool.AddTo(*sub);
  command->jobs.AddTo(*sub);
  command->out.AddTo(*sub);
  sub->add_option("--mutant", command->names, "only these")->type_name("NAME");
  sub->add_flag("--all-tests", command->all_tests,
                "each mutant meets every selected test, not only those that are expected to kill it");
  sub->footer(
      "Exit code: 0 every mutant is killed by a check that one would expect, 1 one is not, 2 wrong input, 3 harness "
      "error.");
  sub->callback([command] {
    if (const int code = Execute(*command)) throw CLI::RuntimeError(code);
  });
}

}  // namespace shardcts
