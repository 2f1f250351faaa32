#include "results/repetitions.h"

#include <gtest/gtest.h>

#include "testing/fake_test.h"

namespace shardcts {
namespace {

TestResult Outcome(Verdict verdict, const std::string& reason = "") {
  TestResult outcome;
  outcome.test = FakeTest("a");
  outcome.verdict = verdict;
  outcome.reason = reason;
  outcome.seconds = 2;
  outcome.log = "log of " + reason;
  return outcome;
}

// The result after these repetitions of `of`.
TestResult Result(const std::vector<TestResult>& outcomes, size_t of) {
  TestResult result;
  result.repetitions.resize(of);
  for (size_t i = 0; i < outcomes.size(); ++i) AddRepetition(i, outcomes[i], result);
  return result;
}

TEST(RepetitionsTest, EqualVerdictsAreNotFlaky) {
  const TestResult result = Result({Outcome(Verdict::kPass, "one"), Outcome(Verdict::kPass, "two")}, 2);
  EXPECT_EQ(result.verdict, Verdict::kPass);
  EXPECT_FALSE(result.flaky);
  EXPECT_EQ(result.log, "log of one");
  EXPECT_EQ(result.seconds, 4);
  EXPECT_EQ(result.repetitions.size(), 2u);
}

TEST(RepetitionsTest, DifferentVerdictsAreFlakyAndTheWorstCounts) {
  const TestResult result = Result({Outcome(Verdict::kPass, "one"), Outcome(Verdict::kCrash, "two"),
                                    Outcome(Verdict::kFail, "three"), Outcome(Verdict::kPass, "four")},
                                   4);
  EXPECT_EQ(result.verdict, Verdict::kCrash);
  EXPECT_TRUE(result.flaky);
  EXPECT_EQ(result.reason, "flaky: 2 pass, 1 crash, 1 fail of 4; repetition 2: two");
  EXPECT_EQ(result.log, "log of two");
  EXPECT_EQ(result.repetitions[1].log, "log of two");
}

TEST(RepetitionsTest, FlakyIsRedAlsoWhenNoVerdictIs) {
  for (const Verdict other : {Verdict::kNotSupported, Verdict::kWaived, Verdict::kNotApplicable}) {
    const TestResult result = Result({Outcome(Verdict::kPass), Outcome(other, "why")}, 2);
    EXPECT_EQ(result.verdict, Verdict::kFail);
    EXPECT_TRUE(result.flaky);
    EXPECT_EQ(result.reason, "flaky: 1 pass, 1 " + ToString(other) + " of 2; repetition 2: why");
  }
}

TEST(RepetitionsTest, WhatWasNotRunIsNoDisagreementAndNoPass) {
  const TestResult result = Result({Outcome(Verdict::kPass), Outcome(Verdict::kNotRun, "interrupted")}, 2);
  EXPECT_EQ(result.verdict, Verdict::kNotRun);
  EXPECT_FALSE(result.flaky);
  EXPECT_EQ(result.reason, "interrupted");
}

TEST(RepetitionsTest, HarnessErrorIsNoFlakinessOfTheImplementation) {
  const TestResult result = Result({Outcome(Verdict::kPass), Outcome(Verdict::kHarnessError, "ours")}, 2);
  EXPECT_EQ(result.verdict, Verdict::kHarnessError);
  EXPECT_FALSE(result.flaky);
}

TEST(RepetitionsTest, BeforeTheLastOneTheTestIsNotDecided) {
  EXPECT_EQ(Result({Outcome(Verdict::kPass)}, 2).verdict, Verdict::kNotRun);
  EXPECT_EQ(Result({Outcome(Verdict::kFail)}, 2).verdict, Verdict::kFail);
}

TEST(RepetitionsTest, RecordingsHaveNamesOfTheirOwn) {
  EXPECT_EQ(RecordingName("s/t", 0), "s/t");
  EXPECT_EQ(RecordingName("s/t", 1), "s/t+repetition=2");
}

}  // namespace
}  // namespace shardcts
