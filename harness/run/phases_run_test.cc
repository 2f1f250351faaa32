// Runs of tests with phases, with the fake rank.
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

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;

class PhasesRunTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(ProcessesOf(folder_), testing::IsEmpty()); }
  Json RunPhases(const std::vector<std::string>& behaviours) {
    return RunAndRead(FakePhasedRun(folder_, behaviours));
  }
  bool StorageIsGone() const { return !fs::exists(folder_.path() / "out/storage"); }
  Json PlanOf(const std::string& pool) const {
    return ReadJsonFile(folder_.path() / "out/runs/fake" / pool / "plan.json");
  }

  TemporaryFolder folder_;
};

TEST_F(PhasesRunTest, EachPhaseRunsOnRanksOfItsOwnInTheTestsFolder) {
  const Json results = RunPhases({"a"});
  EXPECT_EQ(Verdicts(results), "pass");
  const Json& test = results["tests"][0];
  EXPECT_EQ(test["id"], "fake/T.test_a/save=2,load=3");
  EXPECT_EQ(test["world_size"], 3);
  ASSERT_EQ(test["phases"].size(), 2u);
  EXPECT_EQ(test["phases"][0]["role"], "save");
  EXPECT_EQ(test["phases"][0]["ranks"].size(), 2u);
  EXPECT_EQ(test["phases"][0]["log"], "runs/fake/world-2/pool-0");
  EXPECT_EQ(test["phases"][1]["verdict"], "pass");
  EXPECT_EQ(test["phases"][1]["ranks"].size(), 3u);
  EXPECT_EQ(test["phases"][1]["implementation"], "fake");
  EXPECT_EQ(test["ranks"].size(), 3u);
  EXPECT_EQ(test["log"], "runs/fake/world-3/pool-0");
  const fs::path traces = folder_.path() / "out" / test["trace"].get<std::string>();
  EXPECT_TRUE(fs::exists(traces / "phase-1/rank-1.jsonl"));
  EXPECT_TRUE(fs::exists(traces / "phase-2/rank-2.jsonl"));
  EXPECT_EQ(PlanOf("world-2/pool-0")["phases"][0]["folder"], PlanOf("world-3/pool-0")["phases"][0]["folder"]);
  EXPECT_TRUE(StorageIsGone());
}

TEST_F(PhasesRunTest, ThePhasesOfManyTestsShareAPoolForEachWorldSize) {
  RunOptions options = FakePhasedRun(folder_, {"a", "b", "c", "d"});
  options.tests.push_back(FakeTest("e", 3));
  options.jobs = 2;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass pass pass pass pass");
  EXPECT_EQ(results["pools"][0]["starts"], 1);
  EXPECT_EQ(results["pools"][1]["starts"], 2) << "the test without phases does not wait for the phases";
}

TEST_F(PhasesRunTest, AFailureNamesItsPhaseAndLeavesTheFolder) {
  const Json results = RunPhases({"fail_in_2@1", "a"});
  EXPECT_EQ(Verdicts(results), "fail pass");
  const Json& test = results["tests"][0];
  const std::string folder = test["folder"];
  EXPECT_EQ(test["reason"], "phase 2 of 2 (load, 3 ranks): rank 1: C1: expected 1, got 2; its folder: " + folder);
  EXPECT_TRUE(fs::exists(fs::path(folder) / "phase-1-rank-1"));
  EXPECT_EQ(results["tests"][1]["folder"], Json());
  EXPECT_EQ(test["phases"][0]["verdict"], "pass");
  EXPECT_EQ(test["phases"][1]["verdict"], "fail");
}

TEST_F(PhasesRunTest, APhaseAfterAFailedOneIsNotRun) {
  const Json results = RunPhases({"fail_in_1@1", "crash_in_1@0", "a"});
  EXPECT_EQ(Verdicts(results), "fail crash pass");
  for (int test : {0, 1}) {
    EXPECT_EQ(results["tests"][test]["phases"][1]["verdict"], "not_run");
    EXPECT_EQ(results["tests"][test]["phases"][1]["implementation"], Json());
    EXPECT_EQ(results["tests"][test]["checks"]["missing"], Json({"C1"}));
    EXPECT_THAT(results["tests"][test]["reason"].get<std::string>(), HasSubstr("phase 1 of 2 (save, 2 ranks): "));
  }
  EXPECT_EQ(PlanOf("world-3/pool-0")["tests"], Json({"fake/T.test_a/save=2,load=3"}));
}

TEST_F(PhasesRunTest, AHangInALaterPhase) {
  const Json results = RunPhases({"hang_in_2@2", "a"});
  EXPECT_EQ(Verdicts(results), "hang pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(),
              HasSubstr("phase 2 of 2 (load, 3 ranks): rank 2 did not come back within 1.5 s"));
  EXPECT_EQ(results["pools"][1]["starts"], 2);
}

TEST_F(PhasesRunTest, AFolderThatIsGoneFailsThePhaseThatLostIt) {
  const Json results = RunPhases({"remove_folder_in_1@all"});
  EXPECT_EQ(Verdicts(results), "fail");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(),
              HasSubstr("phase 1 of 2 (save, 2 ranks): the test's folder is gone: "));
}

TEST_F(PhasesRunTest, RepetitionsHaveFoldersOfTheirOwn) {
  RunOptions options = FakePhasedRun(folder_, {"a", "flaky_in_2@1"});
  options.repeat = 2;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass fail");
  EXPECT_EQ(results["tests"][1]["flaky"], true);
  EXPECT_EQ(results["pools"][0]["starts"], 1);
  EXPECT_EQ(results["pools"][1]["starts"], 1);
  const Json phases = PlanOf("world-2/pool-0")["phases"];
  ASSERT_EQ(phases.size(), 4u);
  EXPECT_NE(phases[0]["folder"], phases[2]["folder"]);
}

TEST_F(PhasesRunTest, FreshPoolsRunOnePhaseEach) {
  RunOptions options = FakePhasedRun(folder_, {"a", "b"});
  options.pool_mode = PoolMode::kFresh;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass pass");
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  EXPECT_EQ(results["pools"][1]["starts"], 2);
}

TEST_F(PhasesRunTest, AWorldThatCannotBeStartedIsAHarnessErrorOfThatPhase) {
  RunOptions options = FakePhasedRun(folder_, {"a", "b"});
  options.implementations[0].options["start"] = "world3_harness";
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "harness_error not_run");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(),
              HasSubstr("phase 2 of 2 (load, 3 ranks): the ranks could not be started twice in a row: "));
  EXPECT_EQ(results["tests"][1]["phases"][0]["verdict"], "pass");
  EXPECT_TRUE(StorageIsGone());
}

TEST_F(PhasesRunTest, ALauncherThatCannotStartAWorldIsWrongInput) {
  RunOptions options = FakePhasedRun(folder_, {"a", "b"});
  const fs::path launcher = folder_.path() / "two_ranks_at_most.sh";
  std::ofstream(launcher) << "#!/bin/sh\n[ $1 = 2 ] || exit 3\nexec " FAKE_LAUNCHER " \"$@\"\n";
  fs::permissions(launcher, fs::perms::owner_all);
  options.launcher = launcher.string() + " {ranks}";
  try {
    RunAndRead(options);
    ADD_FAILURE() << "no error";
  } catch (const InputError& error) {
    EXPECT_THAT(error.what(), AllOf(HasSubstr("two_ranks_at_most.sh {ranks}\" ended with exit code 3 before any rank had started")));
  }
  EXPECT_EQ(Verdicts(ReadJsonFile(folder_.path() / "out/results.json")), "not_run not_run");
  EXPECT_TRUE(StorageIsGone());
}

TEST_F(PhasesRunTest, InterruptedBetweenPhasesNothingIsLeft) {
  RunOptions options = FakePhasedRun(folder_, {"a"});
  options.tests.push_back(FakeTest("hang@0"));
  EXPECT_EQ(RunAndInterrupt(folder_, options), 3);
  EXPECT_TRUE(StorageIsGone());
}

TEST_F(PhasesRunTest, ACrashThatCutsAPhaseShortStartsItsTestAnewInAnotherFolder) {
  const Json results = RunPhases({"slow_in_1@0", "crash_in_1@1", "a"});
  EXPECT_EQ(Verdicts(results), "pass crash pass");
}

TEST_F(PhasesRunTest, AContinuedRunTakesOverWholeTestsAndBeginsOthersAnew) {
  RunOptions options = FakePhasedRun(folder_, {"a", "fail_in_1@1", "b"});
  options.tests.push_back(FakeTest("hang@1"));
  options.limits.test = std::chrono::milliseconds(60'000);
  options.refresh = std::chrono::milliseconds(60'000);
  RunAndKillTheController(folder_, options);  // in a pool of 2 ranks, so between the phases
  options.limits.test = std::chrono::milliseconds(1500);
  options.go_on = true;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass fail pass hang");
  EXPECT_EQ(results["tests"][1]["phases"][0]["log"], "runs/fake/world-2/pool-0") << "taken over";
  EXPECT_EQ(results["tests"][0]["phases"][0]["log"], "runs/fake/world-2/pool-1") << "begun anew";
}

TEST_F(PhasesRunTest, WithAStorageRootTheRunHasAFolderThere) {
  RunOptions options = FakePhasedRun(folder_, {"a", "fail_in_2@1"});
  options.storage_root = folder_.path() / "root";
  fs::create_directories(options.storage_root);
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass fail");
  EXPECT_EQ(results["run"]["storage_root"], options.storage_root.string());
  const std::string kept = results["tests"][1]["folder"];
  EXPECT_THAT(kept, testing::StartsWith((options.storage_root / "shardcts-").string()));
  EXPECT_THAT(results["tests"][1]["reproduce"].get<std::string>(), HasSubstr(" --storage-root "));
  EXPECT_TRUE(StorageIsGone());
  RunAndRead(options);
  EXPECT_FALSE(fs::exists(kept)) << "what a run has left is removed by the next one into the same run folder";
  options.tests.pop_back();
  RunAndRead(options);
  EXPECT_TRUE(fs::is_empty(options.storage_root));
}

TEST_F(PhasesRunTest, AnotherImplementationMayRunThePhasesThatLoad) {
  RunOptions options = FakePhasedRun(folder_, {"a", "fail_in_2@1"});
  options.load_with = ImplementationSpec{"other", "reference", {}, "cpu", std::nullopt};
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass fail");
  EXPECT_EQ(results["run"]["load_with"], "other");
  EXPECT_EQ(results["implementations"].size(), 2u);
  EXPECT_EQ(results["implementations"][1]["loads_only"], true);
  const Json& test = results["tests"][1];
  EXPECT_EQ(test["implementation"], "fake");
  EXPECT_EQ(test["phases"][0]["implementation"], "fake");
  EXPECT_EQ(test["phases"][1]["implementation"], "other");
  EXPECT_THAT(test["reason"].get<std::string>(), testing::StartsWith("phase 2 of 2 (load, 3 ranks, other): rank 1: C1"));
  EXPECT_THAT(test["reproduce"].get<std::string>(), HasSubstr(" --load-with other"));
  EXPECT_TRUE(fs::exists(options.run_folder / test["trace"].get<std::string>() / "phase-2/rank-2.jsonl"));
  options.go_on = true;
  const Json after = RunAndRead(options);
  EXPECT_EQ(after["tests"], results["tests"]);
  EXPECT_EQ(after["pools"][1]["starts"], results["pools"][1]["starts"]);
}

TEST_F(PhasesRunTest, BothImplementationsMayBeUnderTest) {
  RunOptions options = FakePhasedRun(folder_, {"a"});
  options.implementations.push_back({"other", "reference", {}, "cpu", std::nullopt});
  options.load_with = options.implementations.back();
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass pass");
  EXPECT_EQ(results["implementations"].size(), 2u);
  EXPECT_EQ(results["tests"][0]["phases"][1]["implementation"], "other");
  EXPECT_EQ(results["tests"][1]["phases"][0]["implementation"], "other");
}

TEST_F(PhasesRunTest, AStorageRootThatCannotBeUsedIsWrongInput) {
  RunOptions options = FakePhasedRun(folder_, {"a"});
  const auto error_with = [&](const fs::path& root) -> std::string {
    options.storage_root = root;
    try {
      RunAndRead(options);
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  };
  std::ofstream(folder_.path() / "file") << "x";
  EXPECT_EQ(error_with(folder_.path() / "file"), "--storage-root " + (folder_.path() / "file").string() + ": is no folder");
  EXPECT_THAT(error_with(folder_.path() / "none"), HasSubstr("none: No such file or directory"));
  EXPECT_THAT(error_with("/proc/self"), HasSubstr(": cannot be made a folder: "));
  EXPECT_EQ(Verdicts(ReadJsonFile(folder_.path() / "out/results.json")), "not_run");
  EXPECT_FALSE(fs::exists(folder_.path() / "out/storage.json"));
}

TEST_F(PhasesRunTest, OnlyAFolderOfThisRunFolderIsRemoved) {
  RunOptions options = FakePhasedRun(folder_, {"a"});
  RunAndRead(options);
  const fs::path other = folder_.path() / "shardcts-other";
  fs::create_directories(other);
  std::ofstream(other / "shardcts-run.json") << Json{{"run_folder", "/another/out"}};
  std::ofstream(other / "data") << "of somebody";
  std::ofstream(options.run_folder / "storage.json") << Json{{"folder", other.string()}};
  RunAndRead(options);
  EXPECT_TRUE(fs::exists(other / "data"));
  fs::create_directory_symlink(other, folder_.path() / "shardcts-link");
  std::ofstream(other / "shardcts-run.json") << Json{{"run_folder", options.run_folder.string()}};
  std::ofstream(options.run_folder / "storage.json") << Json{{"folder", (folder_.path() / "shardcts-link").string()}};
  RunAndRead(options);
  EXPECT_TRUE(fs::exists(other / "data")) << "through a link";
}

TEST_F(PhasesRunTest, WhatAKilledRunHasLeftBelowTheStorageRootIsRemoved) {
  RunOptions options = FakePhasedRun(folder_, {"a", "b"});
  options.tests.push_back(FakeTest("hang@1"));
  options.storage_root = folder_.path() / "root";
  fs::create_directories(options.storage_root);
  options.limits.test = std::chrono::milliseconds(60'000);
  RunAndKillTheController(folder_, options);
  EXPECT_FALSE(fs::is_empty(options.storage_root));
  options.limits.test = std::chrono::milliseconds(1500);
  options.go_on = true;
  EXPECT_EQ(Verdicts(RunAndRead(options)), "pass pass hang");
  EXPECT_TRUE(fs::is_empty(options.storage_root));
}

TEST_F(PhasesRunTest, WhatTheControllerSawOfAPhaseStays) {
  RunOptions options = FakePhasedRun(folder_, {"crash_in_1@1", "hang_in_2@0", "a"});
  const Json before = RunAndRead(options);
  options.go_on = true;
  const Json after = RunAndRead(options);
  EXPECT_EQ(Verdicts(after), "crash hang pass");
  for (int test = 0; test < 3; ++test) {
    EXPECT_EQ(after["tests"][test]["reason"], before["tests"][test]["reason"]);
    for (int phase : {0, 1}) {
      for (const char* key : {"verdict", "reason", "log", "implementation"}) {
        EXPECT_EQ(after["tests"][test]["phases"][phase][key], before["tests"][test]["phases"][phase][key]);
      }
    }
    EXPECT_EQ(after["tests"][test]["folder"], before["tests"][test]["folder"]);
  }
  EXPECT_EQ(after["pools"][1]["starts"], before["pools"][1]["starts"]) << "nothing was left to run";
}

}  // namespace
}  // namespace shardcts
