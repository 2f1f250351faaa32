// Runs with several pools at the same time.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "process/processors.h"
#include "run/run.h"
#include "run/tests/pool_setup.h"
#include "run_files/file_text.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using testing::IsEmpty;

// Writes down who was told of last, and whether two threads were here at once.
class WatchingObserver : public RunObserver {
 public:
  void OnPoolStart(const std::string&, int, size_t) override { Visit(); }
  void OnPoolProblem(const std::string&, int, const std::string&) override { Visit(); }
  void OnTestStarted(const TestResult&) override { Visit(); }
  void OnTestOver(const TestResult& test) override {
    Visit();
    over_.push_back(test.implementation + " " + test.test.function);
  }
  const std::vector<std::string>& over() const { return over_; }
  bool disturbed() const { return disturbed_; }

 private:
  void Visit() {
    if (inside_.exchange(true)) disturbed_ = true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    inside_ = false;
  }

  std::atomic<bool> inside_ = false, disturbed_ = false;
  std::vector<std::string> over_;
};

class RunJobsTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(ProcessesOf(folder_), IsEmpty()); }

  // `behaviours` among so many tests that pass that two pools are worth it.
  RunOptions TwoPools(std::vector<std::string> behaviours = {}) {
    while (behaviours.size() < 16) behaviours.push_back("a" + std::to_string(behaviours.size()));
    RunOptions options = FakeRun(folder_, behaviours);
    options.jobs = 2;
    return options;
  }
  RunOptions TwoImplementations(const std::string& behaviour, const std::map<std::string, std::string>& of_second = {}) {
    RunOptions options = FakeRun(folder_, {behaviour});
    options.implementations.push_back({"second", "reference", of_second, "cpu", std::nullopt});
    options.jobs = 2;
    return options;
  }
  Json Read() { return ReadJsonFile(folder_.path() / "out" / "results.json"); }

  TemporaryFolder folder_;
};

std::string LogOf(const Json& results, size_t test) { return results["tests"][test]["log"].get<std::string>(); }

TEST_F(RunJobsTest, TestsOfOneWorldAreSharedAmongPools) {
  const Json results = RunAndRead(TwoPools());
  EXPECT_EQ(results["summary"]["fake"]["pass"], 16);
  EXPECT_EQ(results["run"]["jobs"], 2);
  ASSERT_EQ(results["pools"].size(), 1u);
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  EXPECT_NE(LogOf(results, 0), LogOf(results, 1));
  EXPECT_EQ(LogOf(results, 0), LogOf(results, 2));
}

TEST_F(RunJobsTest, FewTestsShareOnePool) {
  RunOptions options = FakeRun(folder_, {"a", "b", "c"});
  options.jobs = 2;
  EXPECT_EQ(RunAndRead(options)["pools"][0]["starts"], 1);
}

TEST_F(RunJobsTest, OneJobIsOnePool) {
  RunOptions options = TwoPools();
  options.jobs = 1;
  EXPECT_EQ(RunAndRead(options)["pools"][0]["starts"], 1);
}

TEST_F(RunJobsTest, PoolsOfOneImplementationShareTheWarmProcess) {
  RunOptions options = TwoPools();
  options.start_mode = StartMode::kWarm;
  const Json results = RunAndRead(options);
  EXPECT_EQ(results["pools"][0]["warm_starts"], 2);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "out/runs/fake/warm-1"));
}

TEST_F(RunJobsTest, PoolsRunAtTheSameTimeAndTellOneAfterAnother) {
  const RunOptions options = TwoPools({"hang@0"});
  WatchingObserver observer;
  const std::atomic<bool> interrupted = false;
  const Results results = shardcts::Run(options, observer, interrupted);
  EXPECT_FALSE(observer.disturbed());
  ASSERT_EQ(observer.over().size(), 16u);
  const auto hang = std::ranges::find(observer.over(), "fake test_hang@0");
  EXPECT_GE(hang - observer.over().begin(), 8);  // the other pool was done long before the deadline
}

TEST_F(RunJobsTest, PoolsHaveProcessorsOfTheirOwn) {
  const size_t all = AllowedProcessors().size();
  if (all < 2) GTEST_SKIP() << "one processor cannot be shared out";
  // The hang keeps one pool there while the other one is.
  const Json results = RunAndRead(TwoPools({"hang@0", "slow@all"}));
  const std::string log = FileText(folder_.path() / "out" / LogOf(results, 1) / "rank-0.log");
  const auto said = [](size_t count) { return HasSubstr("slow@all/world_size=2 on " + std::to_string(count) + " pro"); };
  EXPECT_THAT(log, testing::AnyOf(said(all / 2), said(all - all / 2)));
}

TEST_F(RunJobsTest, CrashInOnePoolLeavesTheOtherAlone) {
  const Json results = RunAndRead(TwoPools({"crash@1", "a", "b", "crash@0"}));
  EXPECT_EQ(results["summary"]["fake"]["crash"], 2);
  EXPECT_EQ(results["summary"]["fake"]["pass"], 14);
  EXPECT_EQ(results["pools"][0]["starts"], 4);
}

TEST_F(RunJobsTest, HangsOfAllPoolsCount) {
  RunOptions options = TwoPools({"hang@0", "hang@1", "again.test_hang@0", "again.test_hang@1"});
  options.limits.test = std::chrono::milliseconds(300);
  options.stop_after_hangs = 2;  // neither pool has more
  const Json results = RunAndRead(options);
  EXPECT_EQ(results["summary"]["fake"]["hang"], 4);
  EXPECT_EQ(results["summary"]["fake"]["not_run"], 12);
}

TEST_F(RunJobsTest, RepetitionsAreShared) {
  RunOptions options = FakeRun(folder_, {"a", "fail@0", "b", "c"});
  options.repeat = 4;
  options.jobs = 2;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass fail pass pass");
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  for (const Json& repetition : results["tests"][1]["repetitions"]) EXPECT_EQ(repetition["verdict"], "fail");
}

TEST_F(RunJobsTest, WrongInputOfOneEndsAll) {
  const RunOptions options = TwoImplementations("hang@0", {{"start", "input"}});
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THROW(RunAndRead(options), InputError);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, options.limits.test);
  EXPECT_EQ(Read()["complete"], false);
  EXPECT_EQ(Verdicts(Read()), "not_run not_run");
}

TEST_F(RunJobsTest, OneThatDoesNotStartLeavesTheOtherAlone) {
  EXPECT_EQ(Verdicts(RunAndRead(TwoImplementations("a", {{"start", "harness"}}))), "pass harness_error");
}

TEST_F(RunJobsTest, KilledControllerTakesAllPoolsAlong) {
  RunOptions options = TwoPools({"hang@0", "hang@1"});
  RunAndKillTheController(folder_, options);
  EXPECT_EQ(Read()["complete"], false);
}

TEST_F(RunJobsTest, InterruptEndsAllPools) {
  RunOptions options = TwoPools({"hang@0", "hang@1"});
  EXPECT_EQ(RunAndInterrupt(folder_, options), 3);
  EXPECT_EQ(Read()["summary"]["fake"]["not_run"].get<int>(), 16);
}

}  // namespace
}  // namespace shardcts
