// The commands that need no LibTorch, on the tests of the fake rank (run/tests/fake_rank.cc).
#include "cli/commands.h"
#include "cli/program.h"
#include "inventory/embedded_suites.h"

namespace shardcts {

std::vector<EmbeddedSuite> EmbeddedSuites() {
  return {{"fake", R"({"suite": "fake", "tests": [
    {"function": "test_a", "instances": [{"id": "T.test_a"}], "world_sizes": [1, 2],
     "checks": [{"id": "C1", "strength": "strict"}]},
    {"function": "test_fail", "instances": [{"id": "T.test_fail@1"}], "world_sizes": [2], "capabilities": ["tp"],
     "checks": [{"id": "C1", "strength": "strict"}]},
    {"function": "test_hang", "instances": [{"id": "T.test_hang@0"}], "world_sizes": [2],
     "checks": [{"id": "C1", "strength": "strict"}]},
    {"function": "test_wide", "instances": [{"id": "T.test_wide"}], "world_sizes": [16], "checks": []}]})",
           ""}};
}

}  // namespace shardcts

int main(int argc, char** argv) {
  return shardcts::RunProgram(argc, argv, [](CLI::App& app) {
    shardcts::AddListCommand(app);
    shardcts::AddRunCommand(app, {});
    shardcts::AddRecoverCommand(app, {});
    shardcts::AddReportCommand(app);
  });
}
