// shardcts mutants: every seeded bug on an implementation, and which tests notice it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <set>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "contract/nearest_name.h"
#include "mutants/mutant.h"
#include "mutants/source_mutants.h"
#include "run_files/input_error.h"
#include "run_files/program_folder.h"
#include "run_files/run_folder.h"
#include "run_files/shipped_implementations.h"

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
  std::string kind = "all";
  bool all_tests = false;
  bool only_mutants = false;
};

// A mutant, and the implementation that has it.
struct Seeded {
  MutantInfo info;
  ImplementationSpec spec;
};

// What one mutant came to.
struct Kill {
  const MutantInfo* info = nullptr;
  std::vector<std::pair<std::string, std::string>> by;  // test id, check ("" outside a check)
  bool expected_check_hit = false;
  bool broken = false;   // a test was a harness error
  bool stopped = false;  // a test was not run
  bool Killed() const { return !by.empty(); }
  // The tests have said what there is to say: a hang may have ended them.
  bool Ran() const { return !broken && (!stopped || Killed()); }
  // What is known of it is what happened.
  bool IsAsExpected() const {
    if (!info->unnoticed.empty()) return Ran() && !Killed();
    return Ran() && Killed() && expected_check_hit;
  }
};

// Whether one of the checks that one would expect to kill the mutant is in this test.
bool IsExpectedToKill(const MutantInfo& info, const TestCase& test) {
  if (!info.tests.empty()) return std::ranges::count(info.tests, test.id) > 0;
  return test.world_size >= info.min_world_size && std::ranges::count(info.suites, test.suite) > 0 &&
         std::ranges::any_of(info.expected_checks, [&](const std::string& check) {
           return check.substr(0, check.find(' ')) == test.function;
         });
}

bool IsExpectedToKill(const MutantInfo& info, const std::vector<TestCase>& tests) {
  return std::ranges::any_of(tests, [&](const TestCase& test) { return IsExpectedToKill(info, test); });
}

// The ids of the tests that the mutant meets: those that are expected to kill it, or all where none is.
std::set<std::string> TestsMetBy(const MutantInfo& info, const std::vector<TestCase>& tests) {
  const bool meets_all = !IsExpectedToKill(info, tests);
  std::set<std::string> met;
  for (const TestCase& test : tests) {
    if (meets_all || IsExpectedToKill(info, test)) met.insert(test.id);
  }
  return met;
}

// A test that does not exist would never notice the mutant.
void CheckTests(const MutantInfo& info) {
  for (const std::string& id : info.tests) {
    if (std::ranges::count(AllTests(), id, &TestCase::id) == 0) {
      throw InputError("mutant " + info.name + ": there is no test " + id);
    }
  }
}

// The decorators around the implementation, then the mutants of its sources, where it has some.
std::vector<Seeded> KnownMutants(const ImplementationSpec& base, const std::string& kind) {
  if (base.mutant) throw InputError("--impl " + base.label + ": is a mutant already");
  const auto spec = [&](const std::string& name, const std::string& mutant) {
    const size_t comma = std::min(base.label.find(','), base.label.size());
    return ParseImplementationSpec(name + "+mutant=" + mutant + base.label.substr(comma));
  };
  std::vector<Seeded> known;
  if (kind != "source") {
    const std::string name = base.label.substr(0, base.label.find(','));
    for (const MutantInfo& info : AllMutants()) known.push_back({info, spec(name, info.name)});
  }
  if (kind != "decorator" && base.source == "reference") {
    for (const MutantInfo& info : ReadSourceMutants(ProgramFolder() / kSourceMutantTable)) {
      CheckTests(info);
      known.push_back({info, spec(std::string(kMutatedReference), info.name)});
    }
  }
  return known;
}

// Those named, or all that one of the tests is expected to kill.
std::vector<Seeded> SelectMutants(const MutantsCommand& command, const ImplementationSpec& base,
                                  const std::vector<TestCase>& tests) {
  const std::vector<Seeded> known = KnownMutants(base, command.kind);
  std::vector<Seeded> selected;
  for (const std::string& name : command.names) {
    const auto found = std::ranges::find(known, name, [](const Seeded& seeded) { return seeded.info.name; });
    if (found == known.end()) {
      std::vector<std::string_view> names;
      for (const Seeded& seeded : known) names.push_back(seeded.info.name);
      throw InputError(UnknownName("mutant", name, names));
    }
    selected.push_back(*found);
  }
  if (!command.names.empty()) return selected;
  std::ranges::copy_if(known, std::back_inserter(selected), [&](const Seeded& seeded) {
    return command.all_tests || IsExpectedToKill(seeded.info, tests);
  });
  if (selected.empty()) throw InputError("no selected test is expected to kill a mutant");
  const auto unnoticed = std::ranges::count_if(known, [](const Seeded& seeded) { return !seeded.info.unnoticed.empty(); });
  if (unnoticed > 0 && !command.all_tests) {
    std::cout << fmt::format("{} mutants that are known to be unnoticed are left out (--all-tests)\n", unnoticed);
  }
  return selected;
}

void AddFindings(const TestResult& test, Kill& kill) {
  if (test.verdict == Verdict::kHarnessError) kill.broken = true;
  if (test.verdict == Verdict::kNotRun) kill.stopped = true;
  if (!IsConformanceFailure(test.verdict)) return;
  std::vector<std::string> checks;
  for (const RankReport& rank : test.ranks) {
    for (const Failure& failure : rank.failures) {
      if (!std::ranges::count(checks, failure.check)) checks.push_back(failure.check);
    }
  }
  if (checks.empty()) checks.push_back("");
  for (const std::string& check : checks) {
    kill.by.emplace_back(test.test.id, check);
    const std::string expected = test.test.function + (check.empty() ? "" : " ") + check;
    if (std::ranges::count(kill.info->expected_checks, expected)) kill.expected_check_hit = true;
  }
}

std::string VerdictOf(const Kill& kill) { return !kill.Ran() ? "incompetent" : kill.Killed() ? "killed" : "survived"; }

Json ToJson(const std::string& implementation, const Results& results, const std::vector<Kill>& kills) {
  Json mutants = Json::array();
  for (const Kill& kill : kills) {
    Json killed_by = Json::array();
    for (const auto& [test, check] : kill.by) {
      if (kill.Ran()) killed_by.push_back({{"test", test}, {"check", check.empty() ? Json() : Json(check)}});
    }
    mutants.push_back({{"name", kill.info->name},
                       {"description", kill.info->description},
                       {"models", kill.info->models},
                       {"expected_checks", kill.info->expected_checks},
                       {"killed_by", killed_by},
                       {"verdict", VerdictOf(kill)},
                       {"unnoticed", kill.info->unnoticed},
                       {"expected_check_hit", kill.expected_check_hit}});
  }
  return {{"schema_version", 1},
          {"implementation", implementation},
          {"suite_commit", results.suite_commit},
          {"started", results.started},
          {"mutants", mutants}};
}

// What is said of a mutant whose kill was not as expected; "" otherwise.
std::string Remark(const Kill& kill) {
  if (!kill.info->unnoticed.empty()) {
    return kill.Killed() ? ", but it is said to be unnoticed" : ", as is known: " + kill.info->unnoticed;
  }
  if (kill.expected_check_hit) return "";
  return fmt::format(", none by {}", fmt::join(kill.info->expected_checks, " or "));
}

// Returns whether every mutant was killed by a check that one would expect, or is known to be unnoticed.
bool PrintTable(const std::vector<Kill>& kills) {
  bool all = true;
  for (const Kill& kill : kills) {
    all = all && kill.IsAsExpected();
    const std::string first =
        kill.Killed() ? fmt::format("{} {}", kill.by.front().first, kill.by.front().second) : "no test noticed it";
    std::cout << fmt::format("{:<12} {:<28} {:>3} findings{}; first: {}\n", VerdictOf(kill), kill.info->name,
                             kill.by.size(), Remark(kill), first);
  }
  const auto killed = std::ranges::count_if(kills, [](const Kill& kill) { return kill.Ran() && kill.Killed(); });
  const auto expected = std::ranges::count_if(kills, &Kill::expected_check_hit);
  std::cout << fmt::format("{} of {} mutants killed, {} by a check that one would expect\n", killed, kills.size(), expected);
  return all;
}

int Execute(const MutantsCommand& command) {
  RunOptions options;
  command.pool.Apply(options);
  options.require_should = true;  // a rule of level SHOULD notices a bug, too
  const ImplementationSpec base = command.implementation.Specs().front();
  options.tests = command.selection.SelectTests();
  const std::vector<Seeded> mutants = SelectMutants(command, base, options.tests);
  std::vector<Kill> kills;
  std::map<std::string, std::set<std::string>> met_by;
  for (const Seeded& mutant : mutants) {
    kills.push_back({.info = &mutant.info});
    options.implementations.push_back(mutant.spec);
    const std::set<std::string> met = TestsMetBy(mutant.info, options.tests);
    met_by[mutant.spec.label] = met;
    met_by[base.label].insert(met.begin(), met.end());
  }
  // The implementation itself must be green where a mutant is tried, or a failure says nothing about the mutant.
  if (!command.only_mutants) options.implementations.insert(options.implementations.begin(), base);
  if (!command.all_tests) {
    options.wanted = [&met_by](const ImplementationSpec& spec, const TestCase& test) {
      return met_by.at(spec.label).contains(test.id);
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
  std::set<std::string> not_held;  // by the implementation itself: these say nothing about a mutant
  for (const TestResult& test : results.tests) {
    if (test.implementation != base.label) continue;
    base_verdicts.push_back(AsAdvice(test.test, test.verdict));
    if (IsConformanceFailure(test.verdict)) not_held.insert(test.test.id);
  }
  for (const TestResult& test : results.tests) {
    if (not_held.contains(test.test.id)) continue;
    const auto mutant = std::ranges::find(mutants, test.implementation, [](const Seeded& seeded) { return seeded.spec.label; });
    if (mutant != mutants.end()) AddFindings(test, kills[mutant - mutants.begin()]);
  }
  WriteFileAtomically(options.run_folder / "mutants.json", ToJson(base.label, results, kills).dump(1) + "\n");
  const bool all = PrintTable(kills);
  std::cout << "kill table: " << (options.run_folder / "mutants.json").string() << std::endl;
  if (const int code = command.only_mutants ? 0 : ExitCode(base_verdicts, true)) {
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
  sub->add_option("--kind", command->kind, "changes around the implementation, or in the reference's sources")
      ->capture_default_str()
      ->check(CLI::IsMember({"decorator", "source", "all"}));
  sub->add_flag("--all-tests", command->all_tests,
                "each mutant meets every selected test, not only those that are expected to kill it");
  sub->add_flag("--only-mutants", command->only_mutants,
                "not the implementation itself, which is known to pass the selected tests");
  sub->footer(
      "Exit code: 0 every mutant is killed by a check that one would expect, or is known to be unnoticed, 1 one is not, 2 wrong input, 3 harness "
      "error.");
  sub->callback([command] {
    if (const int code = Execute(*command)) throw CLI::RuntimeError(code);
  });
}

}  // namespace shardcts
