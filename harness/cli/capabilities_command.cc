// shardcts capabilities: what an implementation declares, and whether it works, by one small test of each capability.
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <tuple>

#include "cli/commands.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "run_files/foreign_text.h"
#include "contract/capability_tree.h"

namespace shardcts {
namespace {

struct CapabilitiesCommand {
  ImplementationFlags implementation{false};
  PoolFlags pool;
  OutFlag out;
};

// What there is to say of one capability.
struct Row {
  std::string name;
  bool declared = false;
  size_t tests = 0;     // that need it
  size_t answered = 0;  // of these: whose needs are all declared
  const TestResult* tried = nullptr;
};

// Of rules only those that must hold; none that a waiver names: an adapter of other code than the waiver's would be
// called broken for what is known of the library below. Then few other needs, and two ranks, which show more than one.
using TestSize = std::tuple<bool, bool, size_t, size_t, bool, int>;
TestSize Size(const TestCase& test, const std::vector<Waiver>& waivers) {
  const bool advice = test.rule && test.rule->level == Rule::Level::kShould;
  const bool waived =
      std::ranges::any_of(waivers, [&](const Waiver& waiver) { return FitsWhole(waiver.test, test.id); });
  return {advice, waived, test.phases.size(), test.capabilities.size(), test.world_size == 1, test.world_size};
}

// By capability the test that is tried.
std::map<std::string, TestCase> SmallTests(const std::vector<Waiver>& waivers) {
  std::map<std::string, std::pair<TestSize, TestCase>> smallest;
  for (const TestCase& test : AllTests()) {
    if (!test.not_applicable.empty()) continue;
    const TestSize size = Size(test, waivers);
    for (const std::string& name : test.capabilities) {
      const auto [place, is_new] = smallest.emplace(name, std::pair(size, test));
      if (!is_new && size < place->second.first) place->second = {size, test};
    }
  }
  std::map<std::string, TestCase> tests;
  for (const auto& [name, sized] : smallest) tests.emplace(name, sized.second);
  return tests;
}

bool HasAll(const std::vector<std::string>& declared, const std::vector<std::string>& needed) {
  return std::ranges::all_of(needed, [&](const std::string& name) { return DeclaresCapability(declared, name); });
}

std::vector<Row> MakeRows(const std::map<std::string, TestCase>& small, const std::vector<std::string>& declared,
                          const Results& results) {
  std::vector<Row> rows;
  for (const auto& [name, test] : small) {
    Row row{name, DeclaresCapability(declared, name)};
    for (const TestCase& other : AllTests()) {
      if (!std::ranges::count(other.capabilities, name)) continue;
      ++row.tests;
      row.answered += HasAll(declared, other.capabilities);
    }
    for (const TestResult& result : results.tests) {
      if (result.test.id == test.id) row.tried = &result;
    }
    rows.push_back(row);
  }
  return rows;
}

// Of a capability that is declared.
bool Works(const Row& row) {
  return row.tried->verdict == Verdict::kPass || row.tried->verdict == Verdict::kWaived;
}

std::string Says(const Row& row) {
  if (!row.declared) return "not declared";
  if (Works(row)) return "works: " + row.tried->test.id;
  if (row.tried->verdict == Verdict::kNotSupported) return "not tried: " + row.tried->reason;
  return "DOES NOT WORK: " + ToString(row.tried->verdict) + " " + row.tried->test.id + ": " + row.tried->reason;
}

template <class Tests, class Answered>
std::string Columns(const std::string& name, const Tests& tests, const Answered& answered) {
  std::ostringstream line;
  line << std::left << std::setw(32) << name << std::right << std::setw(7) << tests << std::setw(9) << answered;
  return line.str();
}

int Execute(const CapabilitiesCommand& command) {
  RunOptions options;
  command.pool.Apply(options);
  options.implementations = command.implementation.Specs();
  options.waivers = WaiverFlags().Waivers();
  const std::map<std::string, TestCase> small = SmallTests(options.waivers);
  std::set<std::string> chosen;
  for (const auto& [name, test] : small) {
    if (chosen.insert(test.id).second) options.tests.push_back(test);
  }
  options.run_folder = command.out.Folder();
  SetCommand(options);
  ProgressPrinter progress(std::cerr, ScreenStyle::Detect(), options.tests.size());
  const Results results = Run(options, progress, InterruptFlag());
  progress.Clear();

  const std::vector<std::string> declared = results.implementations.front().description["capabilities"];
  std::cout << Columns("capability", "tests", "answered") << "\n";
  bool all_work = true;
  for (const Row& row : MakeRows(small, declared, results)) {
    std::cout << Columns(row.name, row.tests, row.answered) << "  " << OneLine(Says(row)) << "\n";
    all_work &= !row.declared || row.tried->verdict == Verdict::kNotSupported || Works(row);
  }
  std::cout << "results: " << (options.run_folder / "results.json").string() << std::endl;
  if (!results.complete) return 3;
  return all_work ? 0 : 1;
}

}  // namespace

void AddCapabilitiesCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand(
      "capabilities", "What an implementation declares, and whether it works: one small test for each capability.");
  sub->footer(
      "tests: how many need the capability; answered: of these, whose needs are all declared.\n"
      "Exit code: 0, or 1 when something is declared and does not work; 2 and 3 as of run.");
  const auto command = std::make_shared<CapabilitiesCommand>();
  command->implementation.AddTo(*sub);
  command->pool.AddTo(*sub);
  command->out.AddTo(*sub);
  sub->callback([command] {
    if (const int code = Execute(*command)) throw CLI::RuntimeError(code);
  });
}

}  // namespace shardcts
