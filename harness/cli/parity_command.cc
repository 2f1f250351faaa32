// shardcts parity: two finished runs compared test by test, from their recordings.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "parity/parity.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

struct ParityCommand {
  std::string expected_folder;
  std::string actual_folder;
  std::string expected_label;
  std::string actual_label;
};

// The implementation to look at: the wanted one, or the only one there is.
std::string ChooseLabel(const Json& results, const std::string& wanted, const char* flag) {
  std::string known;
  size_t count = 0;
  for (const Json& implementation : results.at("implementations")) {
    if (implementation.value("loads_only", false)) continue;
    ++count;
    known += (known.empty() ? "" : ", ") + implementation.at("label").get<std::string>();
  }
  const bool is_known = std::ranges::any_of(results.at("implementations"),
                                            [&](const Json& each) { return each.at("label") == wanted; });
  if (!wanted.empty() && !is_known) throw InputError(fmt::format("no recordings of \"{}\"; there are {}", wanted, known));
  if (!wanted.empty()) return wanted;
  if (count > 1) throw InputError(fmt::format("holds {}: choose one with {}", known, flag));
  return known;
}

// Where the recording of a test is; nullopt: there is none.
std::optional<fs::path> TraceOf(const Json& test) {
  if (test.at("trace").is_null()) return std::nullopt;
  const fs::path trace = test.at("trace").get<std::string>();
  const bool inside = trace.is_relative() && std::ranges::find(trace, "..") == trace.end();
  if (!inside) throw InputError(fmt::format("{}: trace is outside the run folder", test.at("id").dump()));
  return trace;
}

// Test id -> recording, of one implementation of a run.
std::map<std::string, fs::path> Recordings(const fs::path& folder, const std::string& wanted, const char* flag) {
  const fs::path file = folder / "results.json";
  const Json results = ReadJsonFile(file);
  std::map<std::string, fs::path> recordings;
  try {
    if (!results.at("complete").get<bool>()) throw InputError("the run is not complete");
    const std::string label = ChooseLabel(results, wanted, flag);
    for (const Json& test : results.at("tests")) {
      if (test.at("implementation") != label) continue;
      if (const std::optional<fs::path> trace = TraceOf(test)) recordings[test.at("id")] = folder / *trace;
    }
    if (recordings.empty()) throw InputError(fmt::format("no recordings of \"{}\"", label));
  } catch (const Json::exception& error) {
    throw InputError(fmt::format("{}: {}", file.string(), error.what()));
  } catch (const InputError& error) {
    throw InputError(fmt::format("{}: {}", file.string(), error.what()));
  }
  return recordings;
}

struct Total {
  int64_t disagree = 0;
  int64_t alone = 0;  // tests of one run only
  Parity parity;

  void Add(const Parity& other) {
    disagree += !other.Agree();
    parity.AddCounts(other);
  }
};

int Execute(const ParityCommand& command) {
  const auto expected = Recordings(command.expected_folder, command.expected_label, "--expected");
  const auto actual = Recordings(command.actual_folder, command.actual_label, "--actual");
  Total total;
  const auto only_in = [&total](const std::string& folder, const std::string& id) {
    ++total.alone;
    std::cout << "only in " << folder << ": " << id << "\n";
  };
  for (const auto& [id, trace] : expected) {
    const auto other = actual.find(id);
    if (other == actual.end()) {
      only_in(command.expected_folder, id);
      continue;
    }
    const Parity parity = CompareTraces(trace, other->second);
    total.Add(parity);
    if (!parity.Agree()) std::cout << "differs: " << id << ": " << OneLine(parity.FirstDifference()) << "\n";
  }
  for (const auto& [id, trace] : actual) {
    if (!expected.contains(id)) only_in(command.actual_folder, id);
  }
  std::cout << fmt::format("{} tests compared, {} differ, {} in one run only; {}\n", expected.size(), total.disagree,
                           total.alone, total.parity.Counts());
  return total.disagree + total.alone > 0 ? 1 : 0;
}

}  // namespace

void AddParityCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("parity", "Compares two runs operation by operation, tensor by tensor.");
  const auto command = std::make_shared<ParityCommand>();
  sub->add_option("expected_run", command->expected_folder, "run folder to compare with")
      ->required()
      ->type_name("DIR_A");
  sub->add_option("actual_run", command->actual_folder, "run folder to look at; may be the same one")
      ->required()
      ->type_name("DIR_B");
  sub->add_option("--expected", command->expected_label, "implementation of DIR_A, when it holds several")
      ->type_name("NAME");
  sub->add_option("--actual", command->actual_label, "implementation of DIR_B, when it holds several")
      ->type_name("NAME");
  sub->footer("Exit code: 0 no difference beyond the tolerance, 1 differences, 2 a file is missing or wrong.");
  sub->callback([command] {
    if (const int code = Execute(*command)) throw CLI::RuntimeError(code);
  });
}

}  // namespace shardcts
