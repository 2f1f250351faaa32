// shardcts: the command line. Exit codes: docs/verdicts.md.
#include "cli/commands.h"
#include "cli/program.h"
#include "parity/parity.h"

int main(int argc, char** argv) {
  return shardcts::RunProgram(argc, argv, [](CLI::App& app) {
    shardcts::AddListCommand(app);
    shardcts::AddCapabilitiesCommand(app);
    shardcts::AddNewAdapterCommand(app);
    const auto compare = [](const std::filesystem::path& expected, const std::filesystem::path& actual) {
      return shardcts::ToJson(shardcts::CompareTraces(expected, actual));
    };
    shardcts::AddRunCommand(app, compare);
    shardcts::AddRecoverCommand(app, compare);
    shardcts::AddReportCommand(app);
    shardcts::AddParityCommand(app);
    shardcts::AddExecCommand(app);
    shardcts::AddReplayCommand(app);
    shardcts::AddExportCommand(app);
    shardcts::AddMutantsCommand(app);
    shardcts::AddFuzzCommand(app);
    shardcts::AddPythonCommands(app);
    shardcts::AddCheckpointCommand(app);
  });
}
