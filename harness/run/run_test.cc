#include "run/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "run/tests/pool_setup.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using testing::HasSubstr;
using testing::IsEmpty;

// Every test ends by asserting that no process of it is left.
class RunTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(ProcessesOf(folder_), IsEmpty()); }
  std::string MessageOfInputError(const RunOptions& options) {
    try {
      RunAndRead(options);
    } catch (const InputError& error) {
      return error.what();
    }
    return "no InputError";
  }
  Json Read() { return ReadJsonFile(folder_.path() / "out" / "results.json"); }

  TemporaryFolder folder_;
};

TEST_F(RunTest, PassingTestsShareOnePool) {
  const Json results = RunAndRead(FakeRun(folder_, {"a", "b", "slow@0"}));
  EXPECT_EQ(Verdicts(results), "pass pass pass");
  EXPECT_EQ(results["complete"], true);
  EXPECT_EQ(results["pools"][0]["starts"], 1);
  EXPECT_EQ(results["pools"][0]["start_seconds"].size(), 1u);
  EXPECT_THAT(results["pools"][0]["problems"], IsEmpty());
  EXPECT_EQ(results["summary"]["fake"]["pass"], 3);
  EXPECT_EQ(results["implementations"][0]["name"], "fake");
  EXPECT_EQ(results["run"]["environment"]["torch"], "none");
  EXPECT_EQ(results["tests"][0]["checks"]["evaluated"]["C1"]["ranks"], Json({0, 1}));
  EXPECT_EQ(results["tests"][0]["checks"]["evaluated"]["C1"]["evaluated"], 4);
}

TEST_F(RunTest, EachRankHasATrace) {
  const Json results = RunAndRead(FakeRun(folder_, {"a"}));
  const auto traces = folder_.path() / "out" / results["tests"][0]["trace"].get<std::string>();
  for (const int rank : {0, 1}) {
    const auto file = traces / ("rank-" + std::to_string(rank) + ".jsonl");
    EXPECT_EQ(ReadJsonFile(file)["args"]["rank"], rank);
  }
}

TEST_F(RunTest, CrashCostsThatTestItsVerdictAndNoOther) {
  const Json results = RunAndRead(FakeRun(folder_, {"a", "crash@1", "b"}));
  EXPECT_EQ(Verdicts(results), "pass crash pass");
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  EXPECT_EQ(results["tests"][1]["log"], "runs/fake/world-2/pool-0");
  EXPECT_EQ(results["tests"][2]["log"], "runs/fake/world-2/pool-1");
}

TEST_F(RunTest, CrashNamesRankAndLastLogLine) {
  const Json results = RunAndRead(FakeRun(folder_, {"crash@1"}));
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(),
              testing::AllOf(HasSubstr("rank 1 ended"), HasSubstr("last log line: running fake/T.test_crash@1")));
  EXPECT_EQ(results["tests"][0]["ranks"][0]["verdict"], "aborted");
  EXPECT_EQ(results["tests"][0]["ranks"][1]["verdict"], "crash");
}

TEST_F(RunTest, CrashUnderLaunchersThatKillThePeersAndThatDoNot) {
  for (const char* launcher : {kMpiLauncher, "mpiexec -n {ranks}", FAKE_LAUNCHER " {ranks}"}) {
    RunOptions options = FakeRun(folder_, {"a", "crash@0", "b"});
    options.launcher = launcher;
    const Json results = RunAndRead(options);
    EXPECT_EQ(Verdicts(results), "pass crash pass") << launcher;
    EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(), testing::AnyOf(HasSubstr("rank 0 ended without finishing"),
                               HasSubstr("one of ranks 0, 1 ended without finishing")));
    EXPECT_EQ(results["pools"][0]["warm_starts"], 0);
  }
}

TEST_F(RunTest, RanksWithoutANumberAreGivenOne) {
  RunOptions options = FakeRun(folder_, {"a", "fail@1"});
  const std::filesystem::path launcher = folder_.path() / "no_numbers.sh";
  std::ofstream(launcher) << "#!/bin/sh\nshift\n\"$@\" & \"$@\" & wait\n";
  std::filesystem::permissions(launcher, std::filesystem::perms::owner_all);
  options.launcher = launcher.string() + " {ranks}";
  EXPECT_EQ(Verdicts(RunAndRead(options)), "pass fail");
}

TEST_F(RunTest, ARankThatCutsItsConnectionIsACrash) {
  for (const auto& [behaviour, words] : {std::pair{"half_closed@1", "its connection to the controller ended"},
                                         {"noise@1", "it sent the controller a frame of 542393671 bytes"}}) {
    const Json results = RunAndRead(FakeRun(folder_, {"a", behaviour, "b"}));
    EXPECT_EQ(Verdicts(results), "pass crash pass");
    EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(), HasSubstr(std::string("rank 1 cannot be reached any more: ") + words));
    EXPECT_LT(results["tests"][1]["seconds"].get<double>(), 1.5) << "noticed before the deadline";
  }
}

TEST_F(RunTest, ASilentRankIsAHangThatSaysWhereEachRankIs) {
  const Json results = RunAndRead(FakeRun(folder_, {"silent@1", "raises@1", "a"}));
  EXPECT_EQ(Verdicts(results), "hang hang pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(),
              HasSubstr("; rank 0 waits for its peers before model.forward (step 3)"));
  EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(),
              HasSubstr("rank 1 raised RuntimeError: out of paper in model.build (step 2)"));
}

TEST_F(RunTest, RankThatTellsItsSignalIsBelieved) {
  const Json results = RunAndRead(FakeRun(folder_, {"told@1", "a"}));
  EXPECT_EQ(Verdicts(results), "crash pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(),
              HasSubstr("rank 1 ended without finishing its tests: Segmentation fault (signal 11)"));
}

TEST_F(RunTest, TwoCrashesInOneRun) {
  const Json results = RunAndRead(FakeRun(folder_, {"crash@0", "a", "crash@1", "b"}));
  EXPECT_EQ(Verdicts(results), "crash pass crash pass");
  EXPECT_EQ(results["pools"][0]["starts"], 3);
}

TEST_F(RunTest, RankThatDiesInItsCleanUpCostsTheTestThatItHadFinished) {
  const Json results = RunAndRead(FakeRun(folder_, {"a", "die_after@1", "b"}));
  EXPECT_EQ(Verdicts(results), "pass crash pass");
  EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(), HasSubstr("after the test had finished"));
}

TEST_F(RunTest, HangIsFoundByTheDeadline) {
  const Json results = RunAndRead(FakeRun(folder_, {"hang@1", "a"}));
  EXPECT_EQ(Verdicts(results), "hang pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(), HasSubstr("rank 1 did not come back within 1.5 s"));
  EXPECT_EQ(results["tests"][0]["ranks"][0]["verdict"], "pass");
  EXPECT_EQ(results["tests"][0]["ranks"][1]["verdict"], "hang");
}

TEST_F(RunTest, RankThatExitsWithZeroWithoutFinishingIsACrash) {
  const Json results = RunAndRead(FakeRun(folder_, {"exit0@0", "a"}));
  EXPECT_EQ(Verdicts(results), "crash pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(), HasSubstr("rank 0 ended without finishing"));
}

TEST_F(RunTest, PeersStuckAfterAFailureDoNotHideIt) {
  const Json results = RunAndRead(FakeRun(folder_, {"failstuck@0", "a"}));
  EXPECT_EQ(Verdicts(results), "fail pass");
  EXPECT_EQ(results["tests"][0]["ranks"][1]["verdict"], "aborted");
  EXPECT_EQ(results["tests"][0]["failures"][0]["check"], "C1");
}

TEST_F(RunTest, FailureKeepsThePool) {
  const Json results = RunAndRead(FakeRun(folder_, {"fail@1", "a"}));
  EXPECT_EQ(Verdicts(results), "fail pass");
  EXPECT_EQ(results["pools"][0]["starts"], 1);
}

TEST_F(RunTest, RanksThatDisagreeDiverge) {
  EXPECT_EQ(Verdicts(RunAndRead(FakeRun(folder_, {"not_supported@1", "not_supported@all"}))), "diverged not_supported");
}

TEST_F(RunTest, CheckThatWasNotEvaluatedIsIncomplete) {
  const Json results = RunAndRead(FakeRun(folder_, {"incomplete@all"}));
  EXPECT_EQ(Verdicts(results), "incomplete");
  EXPECT_EQ(results["tests"][0]["checks"]["missing"], Json({"C1"}));
}

TEST_F(RunTest, GarbageEventIsAHarnessError) {
  const Json results = RunAndRead(FakeRun(folder_, {"garbage@0", "a"}));
  EXPECT_EQ(Verdicts(results), "harness_error pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(), HasSubstr("rank 0 wrote an event"));
}

TEST_F(RunTest, SlowStartIsWaitedFor) {
  EXPECT_EQ(Verdicts(RunAndRead(FakeRun(folder_, {"a"}, {{"start", "slow"}}))), "pass");
}

TEST_F(RunTest, PoolThatDiesAtItsStartTwiceIsAHarnessError) {
  const Json results = RunAndRead(FakeRun(folder_, {"a", "b"}, {{"start", "die"}}));
  EXPECT_EQ(Verdicts(results), "harness_error not_run") << "one cause, one error";
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(), HasSubstr("rank 0 ended without finishing its tests"));
}

TEST_F(RunTest, PoolThatNeverBecomesReadyIsAHarnessError) {
  RunOptions options = FakeRun(folder_, {"a"}, {{"start", "hang"}});
  options.limits.start = std::chrono::milliseconds(300);
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "harness_error");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(), HasSubstr("not ready within 0.3 s"));
}

TEST_F(RunTest, HarnessFailureAtTheStartGoesOnWithTheNextPool) {
  RunOptions options = FakeRun(folder_, {"a"}, {{"start", "harness"}});
  options.implementations.push_back({"good", "reference", {}, "cpu", std::nullopt});
  EXPECT_EQ(Verdicts(RunAndRead(options)), "harness_error pass");
}

TEST_F(RunTest, WrongInputFoundByTheRanksEndsTheRun) {
  EXPECT_EQ(MessageOfInputError(FakeRun(folder_, {"a"}, {{"start", "input"}})), "fake: no such module x");
  EXPECT_EQ(Read()["complete"], false);
  EXPECT_EQ(Verdicts(Read()), "not_run");
}

TEST_F(RunTest, AStartThatFailsAfterAGoodOneIsTriedAgain) {
  RunOptions options = FakeRun(folder_, {"a", "b", "c"}, {{"start", "second_load_input"}});
  options.pool_mode = PoolMode::kFresh;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass pass pass");
  EXPECT_EQ(results["complete"], true);
  EXPECT_EQ(results["pools"][0]["problems"], Json({"no such module x"}));
}

TEST_F(RunTest, StartsThatFailAfterAGoodOneCostTheirTestsTheVerdictNotTheRun) {
  for (const char* how : {"later_load_input", "later_load_die"}) {
    RunOptions options = FakeRun(folder_, {"a", "b", "c"}, {{"start", how}});
    options.implementations.push_back({"good", "reference", {}, "cpu", std::nullopt});
    options.pool_mode = PoolMode::kFresh;
    const Json results = RunAndRead(options);
    EXPECT_EQ(Verdicts(results), "pass fail fail pass pass pass") << how;
    EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(),
                HasSubstr("the implementation could not be made twice in a row: "));
  }
}

TEST_F(RunTest, UnknownLauncherIsAnInputError) {
  RunOptions options = FakeRun(folder_, {"a"});
  options.launcher = "no-such-launcher -n {ranks}";
  EXPECT_THAT(MessageOfInputError(options), HasSubstr("no-such-launcher: cannot be started"));
}

TEST_F(RunTest, LauncherThatEndsBeforeAnyRankIsAnInputError) {
  RunOptions options = FakeRun(folder_, {"a"});
  const std::filesystem::path launcher = folder_.path() / "two_slots.sh";
  std::ofstream(launcher) << "#!/bin/sh\necho 'There are not enough slots for '$1' processes.' >&2\nexit 213\n";
  std::filesystem::permissions(launcher, std::filesystem::perms::owner_all);
  options.launcher = launcher.string() + " {ranks}";
  EXPECT_EQ(MessageOfInputError(options), "fake: the launcher \"" + options.launcher +
                                              "\" ended with exit code 213 before any rank had started; last log "
                                              "line: There are not enough slots for 2 processes.");
  EXPECT_EQ(Verdicts(Read()), "not_run");
}

TEST_F(RunTest, TooManyHangsStopTheRestOfTheirPool) {
  RunOptions options = FakeRun(folder_, {"hang@0", "hang@1", "a"});
  options.limits.test = std::chrono::milliseconds(300);
  options.stop_after_hangs = 1;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "hang hang not_run");
  EXPECT_THAT(results["tests"][2]["reason"].get<std::string>(), HasSubstr("--stop-after-hangs"));
}

TEST_F(RunTest, FreshPoolsStartOncePerTest) {
  RunOptions options = FakeRun(folder_, {"a", "b", "c"});
  options.pool_mode = PoolMode::kFresh;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass pass pass");
  EXPECT_EQ(results["pools"][0]["starts"], 3);
  EXPECT_EQ(results["run"]["pool"], "fresh");
}

Waiver FakeWaiver(const std::string& behaviour, Verdict verdict) {
  Waiver waiver;
  waiver.place = "w.toml:1";
  waiver.test = FakeTest(behaviour).id;
  waiver.implementation = "reference";
  waiver.device = "cpu";
  waiver.verdict = verdict;
  waiver.owner = "us";
  waiver.reason = "known";
  waiver.evidence = "none";
  waiver.review_version = "2";  // the fake rank says that it is version 1
  return waiver;
}

TEST_F(RunTest, WaiversAreAppliedAndSeen) {
  RunOptions options = FakeRun(folder_, {"crash@1", "fail@1", "a", "b"});
  options.waivers = {FakeWaiver("crash@1", Verdict::kCrash), FakeWaiver("fail@1", Verdict::kFail),
                     FakeWaiver("a", Verdict::kFail)};
  options.waivers[1].checks = {"C2"};
  options.waiver_files = {"w.toml"};
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "waived fail unexpected_pass pass");
  EXPECT_EQ(results["run"]["waivers"], Json({"w.toml"}));
  EXPECT_EQ(results["tests"][0]["waiver"]["found"], "crash");
  EXPECT_EQ(results["tests"][1]["waiver"]["problem"], "names C2");
  EXPECT_EQ(results["tests"][3]["waiver"], Json());
  EXPECT_EQ(results["summary"]["fake"]["waived"], 1);
}

TEST_F(RunTest, WaiversOfTheBaseAreOfItsVersionAndNeverUnexpected) {
  RunOptions options = FakeRun(folder_, {"crash@1", "fail@1", "a"});
  options.waivers = {FakeWaiver("crash@1", Verdict::kCrash), FakeWaiver("fail@1", Verdict::kFail),
                     FakeWaiver("a", Verdict::kFail)};
  for (Waiver& waiver : options.waivers) waiver.implementation = "base";  // the fake rank says that it is version 7.1 of it
  options.waivers[0].review_version = "7.2";
  options.waivers[1].review_version = "7";
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "waived fail pass");
  EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(), HasSubstr("this is 7.1"));
  EXPECT_EQ(results["tests"][2]["waiver"], Json());
}

TEST_F(RunTest, TwoWaiversOfATestEndTheRunBeforeItBegins) {
  RunOptions options = FakeRun(folder_, {"a"});
  options.waivers = {FakeWaiver("a", Verdict::kCrash), FakeWaiver("a", Verdict::kFail)};
  EXPECT_THAT(MessageOfInputError(options), HasSubstr("w.toml:1: waives fake/T.test_a/world_size=2 on fake as"));
  EXPECT_FALSE(std::filesystem::exists(options.run_folder));
}

TEST_F(RunTest, RequiredCapabilityMakesItsTestsFail) {
  RunOptions options = FakeRun(folder_, {"not_supported@all", "a"});
  options.required_capabilities = {"tp"};
  EXPECT_EQ(Verdicts(RunAndRead(options)), "not_supported pass");
  for (TestCase& test : options.tests) test.capabilities = {"core", "tp"};
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "fail pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(), HasSubstr("the run requires capability tp"));
  EXPECT_EQ(results["run"]["require"], Json({"tp"}));
}

TEST_F(RunTest, RepetitionsRunInOnePoolAndEachIsKnown) {
  RunOptions options = FakeRun(folder_, {"a", "flaky@1", "fail@0"});
  options.repeat = 3;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass fail fail");
  EXPECT_EQ(results["pools"][0]["starts"], 1);
  EXPECT_EQ(results["tests"][0]["flaky"], false);
  EXPECT_EQ(results["tests"][1]["flaky"], true);
  EXPECT_EQ(results["tests"][2]["flaky"], false);
  EXPECT_EQ(results["tests"][1]["reason"], "flaky: 2 pass, 1 fail of 3; repetition 2: rank 1: C1: expected 1, got 2");
  EXPECT_EQ(results["tests"][1]["failures"].size(), 1u);
  EXPECT_EQ(results["tests"][1]["repetitions"].size(), 3u);
}

TEST_F(RunTest, RecordingsAreKeptOfRepetitionsThatDiffer) {
  RunOptions options = FakeRun(folder_, {"flaky@1"});
  options.repeat = 3;
  const Json test = RunAndRead(options)["tests"][0];
  const std::string first = test["repetitions"][0]["trace"].get<std::string>();
  const std::string second = test["repetitions"][1]["trace"].get<std::string>();
  EXPECT_EQ(first, "traces/fake/fake_T.test_flaky_1_world_size=2");
  EXPECT_EQ(second, "traces/fake/fake_T.test_flaky_1_world_size=2+repetition=2");
  EXPECT_TRUE(std::filesystem::exists(options.run_folder / first / "rank-1.jsonl"));
  EXPECT_TRUE(std::filesystem::exists(options.run_folder / second / "rank-1.jsonl"));
  EXPECT_EQ(test["trace"], second);
  EXPECT_EQ(test["repetitions"][2]["trace"], Json());
  EXPECT_FALSE(std::filesystem::exists(
      TestTraces(options.run_folder / "traces" / "fake", FakeTest("flaky@1").id + "+repetition=3")));
}

TEST_F(RunTest, CrashOfOneRepetitionIsFlakyAndTheOthersAreRun) {
  RunOptions options = FakeRun(folder_, {"flaky_crash@1", "a"});
  options.repeat = 3;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "crash pass");
  EXPECT_EQ(results["pools"][0]["starts"], 2);
  EXPECT_EQ(results["tests"][0]["flaky"], true);
  EXPECT_EQ(results["tests"][0]["repetitions"][2]["verdict"], "pass");
}

TEST_F(RunTest, FlakyIsRedWhereNoRepetitionIs) {
  RunOptions options = FakeRun(folder_, {"wavering@all"});
  options.repeat = 2;
  EXPECT_EQ(Verdicts(RunAndRead(options)), "fail");
}

TEST_F(RunTest, WaiverOfATestThatSometimesPassesDoesNotHelp) {
  RunOptions options = FakeRun(folder_, {"flaky@1"});
  options.repeat = 2;
  options.waivers = {FakeWaiver("flaky@1", Verdict::kFail)};
  options.waivers[0].checks = {"C1"};
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "unexpected_pass");
  EXPECT_EQ(results["tests"][0]["flaky"], true);
}

TEST_F(RunTest, InterruptLeavesNoProcessAndValidResults) {
  RunOptions options = FakeRun(folder_, {"a", "hang@0", "b"});
  EXPECT_EQ(RunAndInterrupt(folder_, options), 3);
  EXPECT_EQ(Read()["complete"], false);
  EXPECT_EQ(Verdicts(Read()), "pass not_run not_run");
  EXPECT_EQ(Read()["tests"][1]["reason"], "interrupted");
}

TEST_F(RunTest, KilledControllerTakesItsRanksAlong) {
  RunOptions options = FakeRun(folder_, {"hang@0"});
  RunAndKillTheController(folder_, options);
  EXPECT_EQ(Read()["complete"], false);
}

}  // namespace
}  // namespace shardcts
