#include "results/verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

using testing::HasSubstr;

RankReport Report(const std::string& verdict) {
  RankReport report;
  report.started = true;
  report.verdict = RankVerdictNamed(verdict);
  report.checks["C1"] = {1, 0, 0};
  if (verdict == "fail") report.failures.push_back({0, "C1", "expected 1, got 2", "", 0, ""});
  return report;
}

TestCase TestWithChecks(std::vector<InventoryCheck> checks) {
  TestCase test;
  test.checks = std::move(checks);
  return test;
}

struct Row {
  std::vector<std::string> ranks;
  Verdict expected;
};

TEST(VerdictTest, IsTheWorstOfTheRanks) {
  const Row rows[] = {
      {{"pass", "pass"}, Verdict::kPass},
      {{"pass", "fail"}, Verdict::kFail},
      {{"fail", "aborted"}, Verdict::kFail},
      {{"fail", "diverged"}, Verdict::kDiverged},
      {{"harness_error", "diverged"}, Verdict::kHarnessError},
      {{"not_supported", "not_supported"}, Verdict::kNotSupported},
      {{"not_supported", "aborted"}, Verdict::kNotSupported},
      {{"not_applicable", "not_applicable"}, Verdict::kNotApplicable},
      {{"not_applicable", "not_supported"}, Verdict::kDiverged},
      {{"pass", "not_supported"}, Verdict::kDiverged},
      {{"pass", "aborted"}, Verdict::kHarnessError},
      {{"aborted", "aborted"}, Verdict::kHarnessError},
  };
  for (const Row& row : rows) {
    std::vector<RankReport> ranks;
    for (const std::string& verdict : row.ranks) ranks.push_back(Report(verdict));
    EXPECT_EQ(Combine({}, ranks, std::nullopt).verdict, row.expected) << row.ranks[0] << " " << row.ranks[1];
  }
}

TEST(VerdictTest, AShouldThatDoesNotHoldIsAdvice) {
  const auto of_level = [](Rule::Level level) {
    TestCase test;
    test.rule = std::make_shared<const Rule>(Rule{.id = "GE1", .level = level});
    return test;
  };
  const TestCase should = of_level(Rule::Level::kShould);
  EXPECT_EQ(AsAdvice(should, Verdict::kFail), Verdict::kAdvice);
  EXPECT_EQ(AsAdvice(should, Verdict::kDiverged), Verdict::kAdvice);
  for (Verdict verdict : {Verdict::kPass, Verdict::kCrash, Verdict::kHang, Verdict::kIncomplete, Verdict::kHarnessError,
                          Verdict::kNotSupported, Verdict::kNotRun}) {
    EXPECT_EQ(AsAdvice(should, verdict), verdict);
  }
  EXPECT_EQ(AsAdvice(of_level(Rule::Level::kMust), Verdict::kFail), Verdict::kFail);
  EXPECT_EQ(AsAdvice({}, Verdict::kFail), Verdict::kFail) << "a test of upstream";
}

TEST(VerdictTest, ReasonIsTheFirstFailingRanks) {
  EXPECT_EQ(Combine({}, {Report("aborted"), Report("fail")}, std::nullopt).reason, "rank 1: C1: expected 1, got 2");
}

TEST(VerdictTest, IncidentOutranksFailureButNotHarnessError) {
  const Incident crash{Verdict::kCrash, 1, "rank 1 died"};
  EXPECT_EQ(Combine({}, {Report("fail"), {}}, crash).verdict, Verdict::kCrash);
  EXPECT_EQ(Combine({}, {Report("harness_error"), {}}, crash).verdict, Verdict::kHarnessError);
}

TEST(VerdictTest, RankWithoutVerdictIsAHarnessError) {
  EXPECT_EQ(Combine({}, {Report("pass"), {}}, std::nullopt).verdict, Verdict::kHarnessError);
}

TEST(VerdictTest, PassWithAFailedCheckIsNotBelieved) {
  RankReport liar = Report("pass");
  liar.checks["C1"].failed = 1;
  EXPECT_EQ(Combine({}, {Report("pass"), liar}, std::nullopt).verdict, Verdict::kFail);
}

TEST(VerdictTest, RequiredCheckMustBeEvaluatedOnItsRanks) {
  using Ranks = InventoryCheck::Ranks;
  RankReport first = Report("pass"), second = Report("pass");
  first.checks["zero"] = {1, 0, 0};
  second.checks["others"] = {1, 0, 0};
  first.checks["all"] = {1, 0, 0};
  const auto verdict = [&](InventoryCheck check) {
    return Combine(TestWithChecks({check}), {first, second}, std::nullopt);
  };
  EXPECT_EQ(verdict({"zero", "", "strict", Ranks::kRank0, true}).verdict, Verdict::kPass);
  EXPECT_EQ(verdict({"others", "", "strict", Ranks::kOthers, true}).verdict, Verdict::kPass);
  EXPECT_EQ(verdict({"all", "", "strict", Ranks::kAll, true}).verdict, Verdict::kIncomplete);
  EXPECT_EQ(verdict({"all", "", "strict", Ranks::kAll, true}).missing, std::vector<std::string>{"all"});
  EXPECT_EQ(verdict({"none", "", "strict", Ranks::kAll, false}).verdict, Verdict::kPass);
  EXPECT_EQ(verdict({"zero", "", "strict", Ranks::kListed, true, {0}}).verdict, Verdict::kPass);
  EXPECT_EQ(verdict({"zero", "", "strict", Ranks::kListed, true, {0, 1}}).verdict, Verdict::kIncomplete);
}

TEST(VerdictTest, DeviceLimitedCheckIsNotMissing) {
  RankReport rank = Report("pass");
  rank.device_limited["C2"] = "needs a GPU";
  const TestCase test = TestWithChecks({{"C2", "", "strict", InventoryCheck::Ranks::kAll, true}});
  EXPECT_EQ(Combine(test, {rank, rank}, std::nullopt).verdict, Verdict::kPass);
}

TEST(VerdictTest, NamesAreReadBack) {
  for (Verdict verdict : AllVerdicts()) EXPECT_EQ(ParseVerdict(ToString(verdict)), verdict);
  EXPECT_EQ(ParseVerdict("green"), std::nullopt);
}

TEST(ExitCodeTest, FollowsTheVerdicts) {
  EXPECT_EQ(ExitCode({Verdict::kPass, Verdict::kNotApplicable, Verdict::kWaived, Verdict::kNotSupported}, true), 0);
  EXPECT_EQ(ExitCode({Verdict::kPass, Verdict::kIncomplete}, true), 1);
  EXPECT_EQ(ExitCode({Verdict::kPass, Verdict::kUnexpectedPass}, true), 1);
  EXPECT_EQ(ExitCode({Verdict::kFail, Verdict::kHarnessError}, true), 1);
  EXPECT_EQ(ExitCode({Verdict::kPass, Verdict::kHarnessError}, true), 3);
  EXPECT_EQ(ExitCode({Verdict::kPass, Verdict::kNotRun}, true), 3);
  EXPECT_EQ(ExitCode({Verdict::kNotSupported}, true), 3);
  EXPECT_EQ(ExitCode({}, true), 3);
  EXPECT_EQ(ExitCode({Verdict::kPass}, false), 3);
}

}  // namespace
}  // namespace shardcts
