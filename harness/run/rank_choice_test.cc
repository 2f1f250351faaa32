// Which tests run on ranks that are threads, and what the launcher makes of such ranks.
#include "run/rank_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "run/tests/pool_setup.h"
#include "run_files/input_error.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr RankKind kProcesses = RankKind::kProcesses;
constexpr RankKind kThreads = RankKind::kThreads;

// Of two tests, the second of which upstream runs on threads.
std::vector<RankKind> Choose(std::optional<RankKind> wanted, const ImplementationSpec& spec) {
  std::vector<TestCase> tests = {FakeTest("a"), FakeTest("b")};
  tests[1].rank_kind = kThreads;
  return ChooseRankKinds(wanted, tests, spec, FAKE_RANK);
}

TEST(RankKindTest, NamesAreThoseOfTheFormats) {
  for (const RankKind kind : {kProcesses, kThreads}) EXPECT_EQ(RankKindNamed(ToString(kind)), kind);
  EXPECT_EQ(RankKindNamed("upstream"), std::nullopt);
}

TEST(RankChoiceTest, UpstreamDecidesWhereTheImplementationCan) {
  const ImplementationSpec able{"able", "reference", {}, "cpu", std::nullopt};
  EXPECT_THAT(Choose(std::nullopt, able), ElementsAre(kProcesses, kThreads));
  EXPECT_THAT(Choose(kProcesses, able), ElementsAre(kProcesses, kProcesses));
  EXPECT_THAT(Choose(kThreads, able), ElementsAre(kThreads, kThreads));
}

TEST(RankChoiceTest, OtherImplementationsKeepProcesses) {
  for (const ImplementationSpec& unable :
       {ImplementationSpec{"x", "/no/thread_ranks.so", {}, "cpu", std::nullopt},
        ImplementationSpec{"x", "torch", {}, "cpu", std::nullopt},
        ImplementationSpec{"x", "python:m:C", {}, "cpu", std::nullopt},
        ImplementationSpec{"x", "reference", {}, "cuda", std::nullopt},
        ImplementationSpec{"x", "reference", {{"comm", "nccl-emulator"}}, "cpu", std::nullopt}}) {
    EXPECT_THAT(Choose(std::nullopt, unable), ElementsAre(kProcesses, kProcesses)) << unable.source;
    EXPECT_THAT([&] { Choose(kThreads, unable); },
                testing::ThrowsMessage<InputError>("x: its ranks cannot be threads"));
  }
}

class ThreadRanksTest : public testing::Test {
 protected:
  void TearDown() override { EXPECT_THAT(ProcessesOf(folder_), IsEmpty()); }
  RunOptions Threads(const std::vector<std::string>& behaviours) {
    RunOptions options = FakeRun(folder_, behaviours);
    options.ranks = kThreads;
    return options;
  }
  // The process ids that the pool's ranks give.
  std::set<int> Pids(const std::string& pool) {
    std::set<int> pids;
    for (int rank = 0; rank < 2; ++rank) {
      std::ifstream events(EventFile(folder_.path() / "out" / pool, rank));
      std::string line;
      std::getline(events, line);
      pids.insert(Json::parse(line)["pid"].get<int>());
    }
    return pids;
  }

  TemporaryFolder folder_;
};

TEST_F(ThreadRanksTest, OneProcessIsAllRanksOfAPoolOfItsOwn) {
  RunOptions options = FakeRun(folder_, {"a", "b", "fail@1"});
  options.tests[1].rank_kind = options.tests[2].rank_kind = kThreads;
  const Json results = RunAndRead(options);
  EXPECT_EQ(Verdicts(results), "pass pass fail");
  EXPECT_EQ(results["tests"][0]["rank_kind"], "processes");
  EXPECT_EQ(results["tests"][1]["rank_kind"], "threads");
  EXPECT_EQ(results["tests"][2]["log"], "runs/fake/world-2-threads/pool-0");
  EXPECT_EQ(results["pools"][0]["rank_kind"], "processes");
  EXPECT_EQ(results["pools"][1]["rank_kind"], "threads");
  EXPECT_EQ(Pids("runs/fake/world-2/pool-0").size(), 2);
  EXPECT_EQ(Pids("runs/fake/world-2-threads/pool-0").size(), 1);
}

TEST_F(ThreadRanksTest, ARankThatDiesTakesItsPeersWithIt) {
  const Json results = RunAndRead(Threads({"crash@1", "told@0", "a"}));
  EXPECT_EQ(Verdicts(results), "crash crash pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(),
              HasSubstr("one of ranks 0, 1 ended without finishing its tests"));
  EXPECT_THAT(results["tests"][1]["reason"].get<std::string>(),
              HasSubstr("rank 0 ended without finishing its tests: Segmentation fault"));
  EXPECT_EQ(results["pools"][0]["starts"], 3);
}

TEST_F(ThreadRanksTest, HangOfOneRankIsFoundAndTheProcessEnded) {
  const Json results = RunAndRead(Threads({"hang@1", "a"}));
  EXPECT_EQ(Verdicts(results), "hang pass");
  EXPECT_THAT(results["tests"][0]["reason"].get<std::string>(), HasSubstr("rank 1 did not come back within 1.5 s"));
}

TEST_F(ThreadRanksTest, TheReproduceCommandSaysWhatWasAskedFor) {
  EXPECT_THAT(RunAndRead(Threads({"a"}))["tests"][0]["reproduce"].get<std::string>(), HasSubstr(" --ranks threads "));
  EXPECT_THAT(RunAndRead(FakeRun(folder_, {"a"}))["tests"][0]["reproduce"].get<std::string>(),
              testing::Not(HasSubstr("--ranks")));
}

}  // namespace
}  // namespace shardcts
