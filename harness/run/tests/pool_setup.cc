#include "run/tests/pool_setup.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "run_files/file_text.h"
#include "run_files/json_file.h"

namespace shardcts {

namespace fs = std::filesystem;

namespace {
std::atomic<bool> g_interrupted = false;
}  // namespace

RunOptions FakeRun(const TemporaryFolder& folder, const std::vector<std::string>& behaviours,
                   const std::map<std::string, std::string>& implementation_options) {
  RunOptions options;
  options.command = "fake run";
  options.implementations = {{"fake", "reference", implementation_options, "cpu", std::nullopt}};
  for (const std::string& behaviour : behaviours) options.tests.push_back(FakeTest(behaviour));
  options.run_folder = folder.path() / "out";
  options.rank_program = FAKE_RANK;
  options.limits.test = std::chrono::milliseconds(1500);
  options.limits.start = std::chrono::seconds(10);
  options.limits.stop_peers = std::chrono::milliseconds(400);
  options.limits.terminate = std::chrono::milliseconds(300);
  const char* start = std::getenv("SHARDCTS_TEST_START");
  if (start != nullptr && start == std::string("cold")) options.start_mode = StartMode::kCold;
  return options;
}

RunOptions FakePhasedRun(const TemporaryFolder& folder, const std::vector<std::string>& behaviours) {
  RunOptions options = FakeRun(folder, {});
  for (const std::string& behaviour : behaviours) options.tests.push_back(FakePhasedTest(behaviour, {2, 3}));
  return options;
}

nlohmann::ordered_json RunAndRead(const RunOptions& options) {
  RunObserver observer;
  const std::atomic<bool> interrupted = false;
  Run(options, observer, interrupted);
  return ReadJsonFile(options.run_folder / "results.json");
}

std::string Verdicts(const nlohmann::ordered_json& results) {
  std::string text;
  for (const auto& test : results["tests"]) text += (text.empty() ? "" : " ") + test["verdict"].get<std::string>();
  return text;
}

void WaitForTheHangingTest(const TemporaryFolder& folder) {
  const auto pool = folder.path() / "out/runs/fake/world-2/pool-0";
  const auto is_there = [&](const char* log) { return FileText(pool / log).find("test_hang@") != std::string::npos; };
  for (int i = 0; i < 2000 && !(is_there("rank-0.log") && is_there("rank-1.log")); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void RunAndKillTheController(const TemporaryFolder& folder, const RunOptions& options) {
  const pid_t child = ::fork();
  if (child == 0) {
    RunAndRead(options);
    ::_exit(0);
  }
  WaitForTheHangingTest(folder);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  for (int i = 0; i < 100 && !ProcessesOf(folder).empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int RunAndInterrupt(const TemporaryFolder& folder, const RunOptions& options) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGINT, [](int) { g_interrupted = true; });
    RunObserver observer;
    const Results results = Run(options, observer, g_interrupted);
    std::vector<Verdict> verdicts;
    for (const TestResult& test : results.tests) verdicts.push_back(test.verdict);
    ::_exit(ExitCode(verdicts, results.complete));
  }
  WaitForTheHangingTest(folder);
  EXPECT_FALSE(ProcessesOf(folder).empty());
  ::kill(child, SIGINT);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

std::vector<std::string> ProcessesOf(const TemporaryFolder& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string command = FileText(entry.path() / "cmdline");
    if (command.find(folder.path().string()) != std::string::npos) found.push_back(command);
  }
  return found;
}

}  // namespace shardcts
