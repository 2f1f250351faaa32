// shardcts on the synthetic suite: `run` and `list`.
#include "cli/commands.h"
#include "cli/program.h"

int main(int argc, char** argv) {
  return shardcts::RunProgram(argc, argv, [](CLI::App& app) {
    shardcts::AddListCommand(app);
    shardcts::AddRunCommand(app, {});
    shardcts::AddRecoverCommand(app, {});
  });
}
