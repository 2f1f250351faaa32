// shardcts report: hands a run folder to the Python package that renders it.
#include <memory>

#include "cli/commands.h"
#include "cli/python_package.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

struct ReportCommand {
  std::string folder;
  std::string out;
  std::string mutants;
  std::string format = "files";
};

// Of tests, or of random programs.
void RequireResults(const std::filesystem::path& folder) {
  const bool fuzzed = !std::filesystem::exists(folder / "results.json") && std::filesystem::exists(folder / "fuzz.json");
  const std::filesystem::path file = folder / (fuzzed ? "fuzz.json" : "results.json");
  const nlohmann::ordered_json results = ReadJsonFile(file);
  if (!results.is_object() || !results.contains("schema_version"))
    throw InputError(file.string() + ": holds no results");
}

// Replaces this process: the exit code is the package's own.
[[noreturn]] void ExecuteReport(const ReportCommand& command) {
  RequireResults(command.folder);
  std::vector<std::string> words = {command.folder};
  if (!command.out.empty()) words.insert(words.end(), {"--out", command.out});
  if (command.format != "files") words.insert(words.end(), {"--format", command.format});
  if (!command.mutants.empty()) words.insert(words.end(), {"--mutants", command.mutants});
  ExecutePythonPackage(DataFile("reports", SHARDCTS_REPORTS_FOLDER), "shardcts_reports", words);
}

}  // namespace

void AddReportCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("report", "Writes the HTML page, the Markdown summary and JUnit XML of a run.");
  const auto command = std::make_shared<ReportCommand>();
  sub->add_option("folder", command->folder, "the run folder, which holds results.json")->required()->type_name("DIR");
  sub->add_option("--out", command->out, "where to write (default: DIR/report)")->type_name("DIR");
  sub->add_option("--format", command->format,
                  "text: verdicts and problems by cause, on the terminal; nothing is written")
      ->capture_default_str()
      ->check(CLI::IsMember({"files", "text"}));
  sub->add_option("--mutants", command->mutants, "a kill table (mutants.json) for the table of the suites")
      ->type_name("FILE");
  sub->callback([command] { ExecuteReport(*command); });
}

}  // namespace shardcts
