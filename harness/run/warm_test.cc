// Ranks as forks of a warm process: that they are, that they end like others, and when they start cold instead.
// The tests of RunTest say how verdicts are made; they run warm as well (CMakeLists.txt).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <charconv>
#include <algorithm>
#include <thread>

#include "run/tests/pool_setup.h"
#include "run_files/file_text.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "start/warm_process.h"
#include "start/warm_protocol.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::IsEmpty;

// The processes of this name (/proc/PID/comm, at most 15 letters) whose command line holds the folder.
std::vector<pid_t> ProcessesNamed(const std::string& name, const TemporaryFolder& folder) {
  std::vector<pid_t> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    if (FileText(entry.path() / "comm") != name.substr(0, 15) + "\n") continue;
    if (FileText(entry.path() / "cmdline").find(folder.path().string()) == std::string::npos) continue;
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

  // Runs, and kills the processes of this name as soon as a rank of the first pool is in the test that hangs.
  Json RunAndKill(const std::string& name, const RunOptions& options) {
    std::thread killer([&] {
      WaitForTheHangingTest(folder_);
      const std::vector<pid_t> victims = ProcessesNamed(name, folder_);
      EXPECT_FALSE(victims.empty());
      for (const pid_t pid : victims) ::kill(pid, SIGKILL);
    });
    Json results = RunAndRead(options);
    killer.join();
    return results;
  }

  std::string LogOfTheLauncher() { return FileText(folder_.path() / "out/runs/fake/world-2/pool-0/launcher.log"); }

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

TEST_F(WarmTest, RanksUnderMpiexec) {
  RunOptions options = Warm({"a", "crash@0", "b"});
  options.launcher = RunOptions{}.launcher;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass crash pass");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 2);
  EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(), HasSubstr("ended without finishing its tests"));
  EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(), HasSubstr("Killed (signal 9)"));
}

TEST_F(WarmTest, RankWhoseAskingProcessIsKilledIsKilled) {
  const Json results = RunAndKill("shardcts-start-rank", Warm({"a", "hang@1", "b"}));
  EXPECT_EQ(Verdicts(results), "pass crash pass");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 2);
}

TEST_F(WarmTest, WarmProcessThatIsKilledIsAHarnessErrorAndIsStartedAnew) {
  const Json results = RunAndKill("shardcts-warm", Warm({"a", "hang@1", "b"}));
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
    for (const pid_t pid : ProcessesNamed("shardcts-warm", folder_)) ::kill(pid, SIGSTOP);
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

TEST_F(WarmTest, RanksWithAnotherEnvironmentStartCold) {
  RunOptions options = Warm({"a"});
  options.launcher = "env LD_DEBUG_OUTPUT=x " + options.launcher;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 0);
  EXPECT_THAT(LogOfTheLauncher(), HasSubstr("starts cold: refused the warm process was started with another value of "
                                            "LD_DEBUG_OUTPUT"));
}

TEST_F(WarmTest, RanksInAnotherPlaceStartCold) {
  RunOptions options = Warm({"a"});
  options.launcher = "nice -n 3 " + options.launcher;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass");
  EXPECT_EQ(results["pools"][0]["warm_starts"], 0);
  const int own = ::getpriority(PRIO_PROCESS, 0);
  EXPECT_THAT(LogOfTheLauncher(), HasSubstr("refused the warm process has 'niceness " + std::to_string(own) +
                                            "', this one 'niceness " + std::to_string(std::min(own + 3, 19)) + "'"));
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

// A warm process of the fake rank, without a run.
class WarmSocketTest : public WarmTest {
 protected:
  void SetUp() override {
    const Json implementation = {{"source", "reference"}, {"options", Json::object()}};
    warm_ = std::make_unique<WarmProcess>(FAKE_RANK, implementation, folder_.path() / "warm");
    warm_->AwaitReady(milliseconds(5000), never_);
  }
  void TearDown() override {
    EXPECT_EQ(warm_->HowItEnded(), std::nullopt);
    warm_.reset();
    WarmTest::TearDown();
  }
  std::optional<std::string> AnswerTo(const WarmRequest& request) {
    const Descriptor socket = Connect(warm_->socket(), milliseconds(5000));
    SendRequest(socket.number(), request);
    return ReceiveText(socket.number());
  }

  const std::atomic<bool> never_ = false;
  std::unique_ptr<WarmProcess> warm_;
};

TEST_F(WarmSocketTest, GarbageIsRefused) {
  for (const std::string& garbage :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(64, '\0'), std::string("\x01")}) {
    const Descriptor socket = Connect(warm_->socket(), milliseconds(5000));
    ::send(socket.number(), garbage.data(), garbage.size(), MSG_NOSIGNAL);
    ::shutdown(socket.number(), SHUT_WR);
    EXPECT_THAT(ReceiveText(socket.number()).value_or(""), testing::StartsWith("refused "));
  }
}

TEST_F(WarmSocketTest, OtherProgramIsRefused) {
  const WarmRequest request = RequestOfThisProcess({"/bin/true"}, -1);
  EXPECT_THAT(AnswerTo(request).value_or(""), HasSubstr("refused the warm process is"));
}

TEST_F(WarmSocketTest, ProcessOutsideAnyPoolIsRefused) {
  WarmRequest request = RequestOfThisProcess({FAKE_RANK, "--plan", "none"}, -1);
  request.environment.push_back("OMP_NUM_THREADS=1");
  request.descriptors = {0, 1, 2};
  EXPECT_EQ(AnswerTo(request), "refused SHARDCTS_POOL_TOKEN has another length");
}

TEST_F(WarmSocketTest, ManyOpenFilesAreAnError) {
  WarmRequest request = RequestOfThisProcess({FAKE_RANK}, -1);
  request.descriptors.assign(300, 0);
  EXPECT_THROW(AnswerTo(request), std::runtime_error);
}

TEST(WarmProtocolTest, NobodyListens) {
  EXPECT_THROW(Connect("shardcts-nobody", milliseconds(100)), std::runtime_error);
  EXPECT_THROW(Connect(std::string(200, 'x'), milliseconds(100)), std::runtime_error);
}

TEST(WarmProtocolTest, RequestsComeAsTheyWereSent) {
  int sockets[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const Descriptor here(sockets[0]);
  const Descriptor there(sockets[1]);
  WarmRequest sent{{"/bin/x", "", "a b"}, {"A=1", "B=\xff"}, {"place x"}, uint64_t{1} << 63, 5, {0, 2}};
  SendRequest(here.number(), sent);
  const auto [got, descriptors] = ReceiveRequest(there.number(), 100);
  EXPECT_EQ(got.words, sent.words);
  EXPECT_EQ(got.environment, sent.environment);
  EXPECT_EQ(got.place, sent.place);
  EXPECT_EQ(got.ignored_signals, sent.ignored_signals);
  EXPECT_EQ(got.blocked_signals, sent.blocked_signals);
  EXPECT_EQ(got.descriptors, sent.descriptors);
  ASSERT_EQ(descriptors.size(), 2u);
  EXPECT_GE(descriptors[0].number(), 100);
}

}  // namespace
}  // namespace shardcts
