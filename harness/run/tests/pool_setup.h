// The vocabulary of the tests of runs: runs of the fake rank (tests/fake_rank.cc) in a temporary folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "run/run.h"
#include "testing/fake_test.h"
#include "testing/temporary_folder.h"

namespace shardcts {

// Options for a run of these tests with the fake rank, short deadlines, 2 ranks. They start warm, unless the
// environment has SHARDCTS_TEST_START=cold.
RunOptions FakeRun(const TemporaryFolder& folder, const std::vector<std::string>& behaviours,
                   const std::map<std::string, std::string>& implementation_options = {});

// The same with tests with phases, of 2 and 3 ranks.
RunOptions FakePhasedRun(const TemporaryFolder& folder, const std::vector<std::string>& behaviours);

// Runs and returns results.json as read from the run folder.
nlohmann::ordered_json RunAndRead(const RunOptions& options);

// "pass crash pass": the verdicts in the order of the run.
std::string Verdicts(const nlohmann::ordered_json& results);

// Returns when both ranks of the first pool are in a test that hangs, or after 20 seconds.
void WaitForTheHangingTest(const TemporaryFolder& folder);

// Runs in a process of its own, which is killed in the test that hangs, and waits until its ranks are gone, 2 seconds at
// most.
void RunAndKillTheController(const TemporaryFolder& folder, const RunOptions& options);

// What `shardcts run` does with SIGINT, which comes in the test that hangs; there must be ranks then. Its exit code.
int RunAndInterrupt(const TemporaryFolder& folder, const RunOptions& options);

// Processes on this host that were started with a plan below `folder`.
std::vector<std::string> ProcessesOf(const TemporaryFolder& folder);

}  // namespace shardcts
