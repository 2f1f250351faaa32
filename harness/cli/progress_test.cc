#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

namespace shardcts {
namespace {

using testing::HasSubstr;
using testing::Not;

TestResult Result(Verdict verdict, const std::string& implementation = "torch") {
  TestResult result;
  result.test.id = "s/T.a/world_size=2";
  result.implementation = implementation;
  result.verdict = verdict;
  result.reason = "rank 0: C1: expected 1,\ngot 2";
  result.reproduce = "build/shardcts run --impl torch";
  return result;
}

TEST(ProgressTest, PlainOutputHasTwoLinesPerFailureAndNoneForGreen) {
  std::ostringstream out;
  ProgressPrinter progress(out, {}, 3);
  progress.OnPoolStart("torch", 2, 3);
  progress.OnTestStarted(Result(Verdict::kNotRun));
  progress.OnTestOver(Result(Verdict::kPass));
  progress.OnTestOver(Result(Verdict::kNotSupported));
  EXPECT_EQ(out.str(), "");
  progress.OnTestOver(Result(Verdict::kFail));
  EXPECT_EQ(out.str(),
            "fail s/T.a/world_size=2 [torch]: rank 0: C1: expected 1, got 2\n  reproduce: build/shardcts run --impl "
            "torch\n");
}

TEST(ProgressTest, WaivedTestIsOneLine) {
  std::ostringstream out;
  ProgressPrinter(out, {}, 1).OnTestOver(Result(Verdict::kWaived));
  EXPECT_EQ(out.str(), "waived s/T.a/world_size=2 [torch]: rank 0: C1: expected 1, got 2\n");
}

TEST(SummaryTableTest, SaysHowManyTestsAreFlaky) {
  Results results;
  results.tests = {Result(Verdict::kFail)};
  results.tests[0].flaky = true;
  EXPECT_THAT(SummaryTable(results), HasSubstr("1 of the tests are flaky\n"));
}

TEST(ProgressTest, LiveLineFitsTheTerminal) {
  std::ostringstream out;
  ProgressPrinter progress(out, {true, false, 20}, 30);
  progress.OnTestOver(Result(Verdict::kPass));
  progress.OnTestStarted(Result(Verdict::kNotRun));
  EXPECT_EQ(out.str(), "\r\033[K[1/30] pass 1  torc");
}

TEST(ProgressTest, ColorsOnlyWhenAskedFor) {
  EXPECT_THAT(DescribeFailure(Result(Verdict::kCrash), true), HasSubstr("\033[31mcrash\033[0m "));
  EXPECT_THAT(DescribeFailure(Result(Verdict::kCrash), false), Not(HasSubstr("\033")));
}

TEST(SummaryTableTest, OneRowPerImplementationOneColumnPerVerdict) {
  Results results;
  results.implementations = {{"torch"}, {"reference"}};
  results.tests = {Result(Verdict::kPass), Result(Verdict::kHang), Result(Verdict::kPass, "reference")};
  results.tests.back().parity = {
      {"against", "torch"}, {"identical", 5}, {"close", 1}, {"different", 0}, {"structural", 0}};
  EXPECT_EQ(SummaryTable(results),
            "implementation  tests  pass  fail  hang\n"
            "torch               2     1     0     1\n"
            "reference           1     1     0     0\n"
            "parity of reference against torch in 1 tests: 5 tensors identical, 1 close, 0 different, 0 structural\n");
}

TEST(SummaryTableTest, ParityThatIsNoNewsCountsApart) {
  Results results;
  results.implementations = {{"reference"}};
  for (const char* apart : {"", "waived", "advice", "suites/x/deviations.toml:7: another order", "advice"}) {
    results.tests.push_back(Result(Verdict::kPass, "reference"));
    const bool is_apart = *apart != 0;
    results.tests.back().parity = {{"against", "torch"}, {"waived", is_apart}, {"apart", apart}, {"identical", 5},
                                   {"structural", is_apart ? 4 : 0}};
  }
  EXPECT_THAT(SummaryTable(results), HasSubstr("in 5 tests: 5 tensors identical, 0 close, 0 different, 0 structural; 2 "
                                               "advice, 1 waived, 1 with known differences, counted apart\n"));
}

}  // namespace
}  // namespace shardcts
