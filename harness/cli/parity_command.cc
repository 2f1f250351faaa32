// shardcts parity: two finished runs compared test by test, from their recordings.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <map>
#include <memory>

#include "cli/commands.h"
#include "parity/parity.h"
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

// Test id -> recording, of one implementation of a run.
std::map<std::string, fs::path> Recordings(const fs::path& folder, const std::string& wanted, const char* flag) {
  const fs::path file = folder / "results.json";
  const Json results = ReadJsonFile(file);
  try {
    if (!results.at("complete").get<bool>()) throw InputError(file.string() + ": the run is not complete");
    std::string label = wanted;
    std::string known;
    for (const Json& implementation : results.at("implementations")) {
      if (label.empty()) label = implementation.at("label").get<std::string>();
      known += (known.empty() ? "" : ", ") + implementation.at("label").get<std::string>();
    }
    if (wanted.empty() && results.at("implementations").size() > 1) {
      throw InputError(fmt::format("{}: holds {}: choose one with {}", file.string(), known, flag));
    }
    std::map<std::string, fs::path> recordings;
    for (const Json& test : results.at("tests")) {
      if (test.at("implementation") != label || test.at("trace").is_null()) continue;
      const fs::path trace = test.at("trace").get<std::string>();
      const bool inside = trace.is_relative() && std::ranges::find(trace, "..") == trace.end();
      if (!inside)
        throw InputError(fmt::format("{}: {}: trace is outside the run folder", file.string(), test.at("id").dump()));
      recordings[test.at("id")] = folder / trace;
    }
    if (recordings.empty())
      throw InputError(fmt::format("{}: no recordings of \"{}\"; there are {}", file.string(), label, known));
    return recordings;
  } catch (const Json::exception& error) {
    throw InputError(file.string() + ": " + error.what());
  }
}

int Execute(const ParityCommand& command) {
  const auto expected = Recordings(command.expected_folder, command.expected_label, "--expected");
  const auto actual = Recordings(command.actual_folder, command.actual_label, "--actual");
  std::map<std::string, int64_t> total;
  int64_t disagree = 0;
  int64_t alone = 0;
  for (const auto& [id, file] : expected) {
    const auto other = actual.find(id);
    if (other == actual.end()) {
      ++alone;
      std::cout << "only in " << command.expected_folder << ": " << id << "\n";
      continue;
    }
    const Json parity = CompareTraceFiles(file, other->second);
    for (const char* key : {"operations", "tensors", "identical", "close", "different", "structural"}) {
      total[key] += parity.at(key).get<int64_t>();
    }
    if (parity.at("different") == 0 && parity.at("structural") == 0) continue;
    ++disagree;
    std::cout << "differs: " << id << ": " << parity.at("first_difference").get<std::string>() << "\n";
  }
  for (const auto& [id, file] : actual) {
    if (expected.contains(id)) continue;
    ++alone;
    std::cout << "only in " << command.actual_folder << ": " << id << "\n";
  }
  std::cout << fmt::format(
      "{} tests compared, {} differ, {} in one run only; {} operations, {} tensors: {} identical, {} close, "
      "{} differences of value, {} of structure\n",
      expected.size(), disagree, alone, total["operations"], total["tensors"], total["identical"], total["close"],
      total["different"], total["structural"]);
  return disagree + alone > 0 ? 1 : 0;
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
