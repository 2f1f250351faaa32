// shardcts export: a recorded test as one file.
#include <iostream>
#include <memory>

#include "cli/commands.h"
#include "recording/recording.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

struct ExportCommand {
  std::string recording;
  std::string file;
};

void Execute(const ExportCommand& command) {
  if (!std::filesystem::is_directory(command.recording)) {
    throw InputError(command.recording + ": not a recorded test of a run folder (OUT/traces/IMPL/TEST)");
  }
  ExportRecording(command.recording, command.file);
  std::cout << command.file << ": " << std::filesystem::file_size(command.file) << " bytes" << std::endl;
}

}  // namespace

void AddExportCommand(CLI::App& app) {
  CLI::App* sub = app.add_subcommand("export", "Puts a recorded test into one file, which `replay` and `exec` read.");
  const auto command = std::make_shared<ExportCommand>();
  sub->add_option("recording", command->recording, "the recorded test, OUT/traces/IMPL/TEST")
      ->required()
      ->type_name("TEST");
  sub->add_option("--out", command->file, "the file to write; one that is there is replaced")
      ->required()
      ->type_name("FILE.zip");
  sub->callback([command] { Execute(*command); });
}

}  // namespace shardcts
