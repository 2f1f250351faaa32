// Commands that are Python packages of their own, which have the commands' flags.
#include <memory>

#include "cli/commands.h"
#include "cli/python_package.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

struct PythonCommand {
  const char* name;
  const char* text;
  const char* module;
};

constexpr PythonCommand kCommands[] = {
    {"certify", "Runs a profile with fixed options and makes a bundle that anybody can verify.",
     "shardcts_reports.certify"},
    {"verify", "Recomputes the verdicts of a bundle and says whether it shows conformance.", "shardcts_verify"},
    {"merge", "Makes one run of several: shards, or hosts.", "shardcts_reports.merge"},
    {"diff", "Compares the verdicts of two runs.", "shardcts_reports.diff"},
    {"history", "Shows how runs have changed in the course of time.", "shardcts_reports.history"},
    {"site", "Shows verified bundles beside each other, as static pages.", "shardcts_reports.site"},
};

[[noreturn]] void Execute(const PythonCommand& command, std::vector<std::string> rest) {
  const std::filesystem::path reports = DataFile("reports", SHARDCTS_REPORTS_FOLDER);
  std::vector<std::string> words;
  if (std::string(command.name) == "certify") words = {"--shardcts", (ProgramFolder() / "shardcts").string()};
  words.insert(words.end(), rest.begin(), rest.end());
  ExecutePythonPackage(reports.string() + ":" + (reports / "verify").string(), command.module, words);
}

}  // namespace

void AddPythonCommands(CLI::App& app) {
  for (const PythonCommand& command : kCommands) {
    CLI::App* sub = app.add_subcommand(command.name, command.text);
    sub->prefix_command();
    sub->set_help_flag();
    sub->callback([sub, &command] { Execute(command, sub->remaining()); });
  }
}

}  // namespace shardcts
