// shardcts: the command line. Exit codes: docs/verdicts.md.
#include "cli/commands.h"
#include "cli/program.h"
#include "parity/parity.h"

int main(int argc, char** argv) {
  return shardcts::RunProgram(argc, argv, [](CLI::App& app) {
    shardcts::AddListCommand(app);
    shardcts::AddRunCommand(app, shardcts::CompareTraceFiles);
    shardcts::AddRecoverCommand(app, shardcts::CompareTraceFiles);
    shardcts::AddReportCommand(app);
    shardcts::AddParityCommand(app);
    shardcts::AddExecCommand(app);
    shardcts::AddReplayCommand(app);
    shardcts::AddMutantsCommand(app);
  });
}
