// Runs that were cut short: what their files say can be read back, and they can be continued.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "run/run.h"
#include "run/tests/pool_setup.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;

class RecoverTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(ProcessesOf(folder_), testing::IsEmpty()); }

  // The tests of `fake_recover` as the run has them; killed in the one that hangs.
  RunOptions KilledRun(const std::vector<std::string>& behaviours) {
    RunOptions options = FakeRun(folder_, behaviours);
    options.limits.test = std::chrono::milliseconds(60'000);
    options.refresh = std::chrono::milliseconds(60'000);  // results.json knows nothing of the tests
    RunAndKillTheController(folder_, options);
    options.limits.test = std::chrono::milliseconds(1500);
    return options;
  }
  Json GoOn(RunOptions options) {
    options.go_on = true;
    return RunAndRead(options);
  }
  Json Read() { return ReadJsonFile(folder_.path() / "out" / "results.json"); }
  static std::string ErrorOf(const std::function<void()>& call) {
    try {
      call();
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  }

  TemporaryFolder folder_;
};

TEST_F(RecoverTest, AContinuedRunTakesOverWhatHadEndedAndRunsTheRest) {
  const RunOptions options = KilledRun({"a", "fail@1", "hang@1", "b"});
  EXPECT_EQ(Verdicts(Read()), "not_run not_run not_run not_run");
  const Json results = GoOn(options);
  EXPECT_EQ(Verdicts(results), "pass fail hang pass");
  EXPECT_EQ(results["complete"], true);
  EXPECT_EQ(results["tests"][0]["log"], "runs/fake/world-2/pool-0");
  EXPECT_EQ(results["tests"][1]["failures"][0]["check"], "C1");
  EXPECT_EQ(results["tests"][3]["log"], "runs/fake/world-2/pool-2");
  EXPECT_EQ(results["pools"][0]["starts"], 3);
  EXPECT_FALSE(results["tests"][0]["trace"].is_null());
  EXPECT_TRUE(std::filesystem::exists(options.run_folder / results["tests"][0]["trace"].get<std::string>()));
}

TEST_F(RecoverTest, WhatTheControllerSawStays) {
  const RunOptions options = FakeRun(folder_, {"crash@1", "hang@0", "a"});
  const Json before = RunAndRead(options);
  EXPECT_EQ(Verdicts(before), "crash hang pass");
  const Json after = GoOn(options);
  EXPECT_EQ(Verdicts(after), "crash hang pass");
  for (int test = 0; test < 3; ++test) {
    EXPECT_EQ(after["tests"][test]["reason"], before["tests"][test]["reason"]);
    EXPECT_EQ(after["tests"][test]["log"], before["tests"][test]["log"]);
    EXPECT_EQ(after["tests"][test]["trace"], before["tests"][test]["trace"]);
  }
  EXPECT_EQ(after["pools"][0]["starts"], before["pools"][0]["starts"]) << "nothing was left to run";
  EXPECT_EQ(after["implementations"], before["implementations"]);
}

TEST_F(RecoverTest, RepetitionsAreTakenOverOneByOne) {
  RunOptions options = FakeRun(folder_, {"flaky@1", "a"});
  options.repeat = 3;
  const Json before = RunAndRead(options);
  const Json after = GoOn(options);
  EXPECT_EQ(Verdicts(after), "fail pass");
  EXPECT_EQ(after["tests"][0]["reason"], before["tests"][0]["reason"]);
  EXPECT_EQ(after["tests"][0]["repetitions"].size(), 3u);
}

TEST_F(RecoverTest, AnotherRunIsNotContinued) {
  RunOptions options = FakeRun(folder_, {"a", "b"});
  RunAndRead(options);
  const Json before = Read();
  RunOptions other = options;
  other.seed = 7;
  EXPECT_THAT(ErrorOf([&] { GoOn(other); }), HasSubstr("is of another run: seed 1234, this command says 7"));
  other = options;
  other.tests.pop_back();
  EXPECT_THAT(ErrorOf([&] { GoOn(other); }), HasSubstr("is of another run: 2 tests, this command selects 1"));
  other = options;
  other.implementations[0].options["x"] = "1";
  EXPECT_THAT(ErrorOf([&] { GoOn(other); }), HasSubstr("is of another run: implementations"));
  EXPECT_EQ(Read(), before);
}

TEST_F(RecoverTest, AFolderWithoutARunIsNotContinued) {
  const RunOptions options = FakeRun(folder_, {"a"});
  EXPECT_THAT(ErrorOf([&] { GoOn(options); }), HasSubstr("out/run.lock: cannot be written: No such file or directory"));
  std::filesystem::create_directories(options.run_folder);
  EXPECT_THAT(ErrorOf([&] { GoOn(options); }), HasSubstr("results.json: cannot be read"));
  std::ofstream(options.run_folder / "results.json") << "{\"complete\": false}";
  EXPECT_THAT(ErrorOf([&] { GoOn(options); }), HasSubstr("results.json: holds no run"));
  std::ofstream(options.run_folder / "results.json") << R"({"schema_version": 1, "run": {}})";
  EXPECT_THAT(ErrorOf([&] { GoOn(options); }), HasSubstr("results.json: is no run of this program: key '"));
}

TEST_F(RecoverTest, EventFilesThatAreWrongCountUntilTheWrongLine) {
  const RunOptions options = FakeRun(folder_, {"a", "b"});
  RunAndRead(options);
  const auto file = EventFile(options.run_folder / "runs/fake/world-2/pool-0", 1);
  std::ifstream stream(file);
  std::string kept;
  for (std::string line; std::getline(stream, line) && line.find("T.test_b") == line.npos;) kept += line + "\n";
  std::ofstream(file) << kept << "garbage\n";
  const Json results = GoOn(options);
  EXPECT_EQ(Verdicts(results), "pass pass");
  EXPECT_EQ(results["tests"][0]["log"], "runs/fake/world-2/pool-0");
  EXPECT_EQ(results["tests"][1]["log"], "runs/fake/world-2/pool-1");
}

TEST_F(RecoverTest, PlansThatAreWrongAreNamedAndTheResultsStay) {
  const RunOptions options = FakeRun(folder_, {"a"});
  RunAndRead(options);
  const Json before = Read();
  std::ofstream(options.run_folder / "runs/fake/world-2/pool-0/plan.json") << "{\"tests\": 5}";
  EXPECT_THAT(ErrorOf([&] { GoOn(options); }), HasSubstr("pool-0/plan.json: "));
  EXPECT_EQ(Read(), before);
}

TEST_F(RecoverTest, ARunFolderHasOneOwner) {
  const RunOptions options = FakeRun(folder_, {"a"});
  std::filesystem::create_directories(options.run_folder);
  const FolderLock other(options.run_folder);
  EXPECT_THAT(ErrorOf([&] { RunAndRead(options); }), HasSubstr("out: is in use by process "));
}

TEST_F(RecoverTest, AFolderThatIsRemovedDuringTheRunIsNoRun) {
  RunOptions options = FakeRun(folder_, {"slow@0"});
  options.parity = [&](const auto&, const auto&) { return Json::object(); };
  class Remover : public RunObserver {
   public:
    explicit Remover(std::filesystem::path folder) : folder_(std::move(folder)) {}
    void OnTestOver(const TestResult&) override { std::filesystem::remove_all(folder_); }

   private:
    const std::filesystem::path folder_;
  } remover(options.run_folder);
  const std::atomic<bool> interrupted = false;
  EXPECT_THAT(ErrorOf([&] { shardcts::Run(options, remover, interrupted); }), HasSubstr("was removed or replaced"));
}

TEST_F(RecoverTest, ARunFolderThatCannotBeWrittenAnyMoreIsNamedAndTheResultsStay) {
  const RunOptions options = FakeRun(folder_, {"a"});
  class Blocker : public RunObserver {
   public:
    explicit Blocker(std::filesystem::path folder) : folder_(std::move(folder)) {}
    void OnPoolStart(const std::string&, int, size_t) override {
      std::filesystem::create_directories(folder_ / "runs/fake");
      std::filesystem::remove_all(folder_ / "runs/fake/world-2");
      std::ofstream(folder_ / "runs/fake/world-2") << "a file in its place";
    }

   private:
    const std::filesystem::path folder_;
  } blocker(options.run_folder);
  const std::atomic<bool> interrupted = false;
  try {
    shardcts::Run(options, blocker, interrupted);
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), HasSubstr("runs/fake/world-2"));
  }
  EXPECT_EQ(Read()["complete"], false);
  EXPECT_EQ(Verdicts(Read()), "not_run");
}

TEST_F(RecoverTest, AnImplementationThatEndsItsRankWhileItIsMadeIsWrongInput) {
  EXPECT_THAT(ErrorOf([&] { RunAndRead(FakeRun(folder_, {"a"}, {{"start", "load_die"}})); }),
              HasSubstr("fake: while the implementation was made: rank 0 ended"));
  EXPECT_EQ(Verdicts(Read()), "not_run");
}

TEST_F(RecoverTest, AnImplementationThatIsNeverReadyIsWrongInput) {
  RunOptions options = FakeRun(folder_, {"a"}, {{"start", "load_hang"}});
  options.limits.start = std::chrono::milliseconds(300);
  EXPECT_THAT(ErrorOf([&] { RunAndRead(options); }),
              HasSubstr("fake: while the implementation was made: ranks were not ready within 0.3 s"));
  EXPECT_EQ(Verdicts(Read()), "not_run");
}

TEST_F(RecoverTest, OneCauseIsOneHarnessError) {
  RunOptions options = FakeRun(folder_, {"a", "b", "c"}, {{"start", "harness"}});
  EXPECT_EQ(Verdicts(RunAndRead(options)), "harness_error not_run not_run");
}

}  // namespace
}  // namespace shardcts
