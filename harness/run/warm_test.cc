// Ranks as forks of a warm process: that they are, that they end like others, and when they start cold instead.
// The tests of RunTest say how verdicts are made; they run warm as well (CMakeLists.txt).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <thread>

#include "process/process.h"
#include "run/tests/pool_setup.h"
#include "run_files/file_text.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;

// The processes of this name (/proc/PID/comm, at most 15 letters) that were started for pools of this program.
std::vector<pid_t> ProcessesNamed(const std::string& name) {
  const std::string token = std::string(kPoolTokenName) + "=" + std::to_string(::getpid()) + "-";
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    if (FileText(entry.path() / "comm") != name.substr(0, 15) + "\n") continue;
    if (FileText(entry.path() / "environ").find(token) == std::string::npos) continue;
    const std::string number = entry.path().filename().string();
    pid_t pid = 0;
    std::from_chars(number.data(), number.data() + number.size(), pid);
    found.push_back(pid);
  }
  return found;
}

class WarmTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(ProcessesOf(folder_), IsEmpty()); }

  RunOptions Warm(const std::vector<std::string>& behaviours, const std::string& how = "") {
    std::map<std::string, std::string> options;
    if (!how.empty()) options["warm"] = how;
    RunOptions run = FakeRun(folder_, behaviours, options);
    run.start_mode = StartMode::kWarm;
    return run;
  }

  // Runs, and sends a signal to the processes of this name as soon as a rank of the first pool is in the test that hangs.
  Json RunAndSignal(const std::string& name, const RunOptions& options, int signal) {
    std::thread killer([&] {
      WaitForTheHangingTest(folder_);
      const std::vector<pid_t> victims = ProcessesNamed(name);
      EXPECT_FALSE(victims.empty());
      for (const pid_t pid : victims) ::kill(pid, signal);
    });
    Json results = RunAndRead(options);
    killer.join();
    return results;
  }

  TemporaryFolder folder_;
};

TEST_F(WarmTest, RanksAreForksOfOneProcess) {
  const Json results = RunAndRead(Warm({"a", "crash@1", "b"}));
  EXPECT_EQ(Verdicts(results), "pass crash pass");
  EXPECT_EQ(results["run"]["start"], "warm");
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  EXPECT_EQ(results["pools"][0]["warm_starts"], 2);
  EXPECT_TRUE(results["implementations"][0]["warm"].contains("seconds"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out/runs/fake/warm-1"));
}

TEST_F(WarmTest, ColdIsCold) {
  RunOptions options = Warm({"a"});
  options.start_mode = StartMode::kCold;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass");
  EXPECT_EQ(results["run"]["start"], "cold");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 0);
  EXPECT_EQ(results["implementations"][0]["warm"], Json());
}

TEST_F(WarmTest, FreshPoolsAreCold) {
  RunOptions options = Warm({"a"});
  options.pool_mode = PoolMode::kFresh;
  EXPECT_EQ(RunAndRead(options)["pools"][0]["warm_starts"], 0);
}

TEST_F(WarmTest, MutantsShareTheWarmProcessOfTheirImplementation) {
  RunOptions options = Warm({"a"});
  options.implementations.push_back(options.implementations.front());
  options.implementations.back().label = "fake+mutant=x";
  options.implementations.back().mutant = "x";
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass pass");
  EXPECT_EQ(results["pools"][1]["warm_starts"], 1);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out/runs/fake_mutant_x/warm-0"));
}

TEST_F(WarmTest, ALaunchersRanksAreCold) {
  RunOptions options = Warm({"a"});
  options.launcher = kMpiLauncher;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass");
  EXPECT_EQ(results["run"]["start"], "cold");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 0);
}

struct SignalCase {
  const char* name;
  const char* victim;
  int signal;
};

class SignalTest : public WarmTest, public testing::WithParamInterface<SignalCase> {};

TEST_P(SignalTest, TheSignalOfARankIsTheOneThatItGot) {
  const Json results = RunAndSignal("shardcts-rank", Warm({"a", "hang@1", "b"}), GetParam().signal);
  EXPECT_EQ(Verdicts(results), "pass crash pass");
  const std::string words = std::string(::strsignal(GetParam().signal)) + " (signal " +
                            std::to_string(GetParam().signal) + ")";
  EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(), HasSubstr(words));
}

INSTANTIATE_TEST_SUITE_P(Signals, SignalTest,
                         testing::Values(SignalCase{"interrupt", "", SIGINT}, SignalCase{"terminate", "", SIGTERM}),
                         [](const auto& info) { return info.param.name; });

class LauncherEndTest : public WarmTest, public testing::WithParamInterface<SignalCase> {};

TEST_P(LauncherEndTest, IsAHarnessErrorAsTheEndOfTheWarmProcessIs) {
  RunOptions options = Warm({"a", "hang@1", "b"});
  options.launcher = kMpiLauncher;
  const Json results = RunAndSignal(GetParam().victim, options, GetParam().signal);
  EXPECT_EQ(Verdicts(results), "pass harness_error pass") << results["tests"][1]["reason"];
}

INSTANTIATE_TEST_SUITE_P(Processes, LauncherEndTest,
                         testing::Values(SignalCase{"launcher", "mpiexec", SIGKILL},
                                         SignalCase{"its_process_on_the_host", "hydra_pmi_proxy", SIGKILL}),
                         [](const auto& info) { return info.param.name; });

TEST_F(WarmTest, WarmProcessThatIsKilledIsAHarnessErrorAndIsStartedAnew) {
  const Json results = RunAndSignal("shardcts-warm", Warm({"a", "hang@1", "b"}), SIGKILL);
  EXPECT_EQ(Verdicts(results), "pass harness_error pass");
  EXPECT_EQ(results["tests"][1]["reason"], "the warm process ended and its ranks with it: Killed (signal 9)");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 2);
  EXPECT_TRUE(std::filesystem::exists(folder_.path() / "out/runs/fake/warm-1"));
}

TEST_F(WarmTest, StoppedWarmProcessKeepsNoRankAlive) {
  RunOptions options = Warm({"a", "hang@1", "b"});
  options.limits.start = milliseconds(1500);
  std::thread stopper([&] {
    WaitForTheHangingTest(folder_);
    for (const pid_t pid : ProcessesNamed("shardcts-warm")) ::kill(pid, SIGSTOP);
  });
  const Json results = RunAndRead(options);
  stopper.join();
  EXPECT_EQ(Verdicts(results), "pass hang pass");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 1);
}

struct ColdCase {
  const char* how;
  const char* problem;
};

class WarmProblemTest : public WarmTest, public testing::WithParamInterface<ColdCase> {};

TEST_P(WarmProblemTest, RanksStartColdAndTheResultsSayWhy) {
  RunOptions options = Warm({"a", "crash@0", "b"}, GetParam().how);
  options.limits.start = milliseconds(1500);
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass crash pass");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 0);
  EXPECT_THAT(results["implementations"][0]["warm"]["problem"].get<std::string>(), HasSubstr(GetParam().problem));
}

INSTANTIATE_TEST_SUITE_P(Problems, WarmProblemTest,
                         testing::Values(ColdCase{"fail", "cannot be preloaded"},
                                         ColdCase{"die", "the warm process ended: Segmentation fault (signal 11)"},
                                         ColdCase{"hang", "the warm process was not ready in time"},
                                         ColdCase{"threads", "preloading left 2 threads, and only one can be forked"}),
                         [](const auto& info) { return info.param.how; });

TEST_F(WarmTest, OtherDevicesStartCold) {
  RunOptions options = Warm({"a"});
  options.implementations.front().device = "cuda";
  const Json results = RunAndRead(options);
  EXPECT_EQ(results["pools"][0]["warm_starts"], 0);
  EXPECT_THAT(results["implementations"][0]["warm"]["problem"].get<std::string>(), HasSubstr("device"));
}

TEST_F(WarmTest, PoolThatDoesNotStartWarmIsTriedCold) {
  RunOptions options = FakeRun(folder_, {"a"}, {{"start", "die"}});
  options.start_mode = StartMode::kWarm;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "harness_error");
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  EXPECT_THAT(results["implementations"][0]["warm"]["problem"].get<std::string>(),
              HasSubstr("a pool did not start warm: rank 0 ended"));
}

TEST_F(WarmTest, StoppedWarmProcessDoesNotHoldUpTheNextPool) {
  RunOptions options = Warm({"crash@1", "a"});
  std::thread stopper([&] {
    const auto warm = [&] { return ProcessesNamed("shardcts-warm"); };
    const auto log = folder_.path() / "out/runs/fake/world-2/pool-0/rank-0.log";
    for (int i = 0; i < 2000 && FileText(log).find("running") == std::string::npos; ++i) {
      std::this_thread::sleep_for(milliseconds(1));
    }
    for (const pid_t pid : warm()) ::kill(pid, SIGSTOP);
  });
  const auto begin = std::chrono::steady_clock::now();
  const Json results = RunAndRead(options);
  stopper.join();
  EXPECT_EQ(Verdicts(results), "crash pass");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace shardcts
