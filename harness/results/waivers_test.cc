#include "results/waivers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_files/input_error.h"
#include "testing/fake_test.h"

namespace shardcts {
namespace {

using std::chrono::day;
using std::chrono::month;
using std::chrono::year;
using testing::HasSubstr;

constexpr std::chrono::year_month_day kToday = year(2026) / month(11) / day(22);
constexpr std::chrono::year_month_day kYesterday = year(2026) / month(11) / day(21);

Waiver WaiverOf(Verdict verdict) {
  Waiver waiver;
  waiver.place = "w.toml:3";
  waiver.test = "fake/*";
  waiver.implementation = "torch";
  waiver.device = "cpu";
  waiver.verdict = verdict;
  waiver.owner = "core team";
  waiver.reason = "buffer is reused";
  waiver.evidence = "https://example.org/1";
  waiver.expires = kToday;
  return waiver;
}

TestResult Failed(const std::vector<std::string>& checks) {
  TestResult result;
  result.test = FakeTest("a");
  result.verdict = Verdict::kFail;
  result.reason = "rank 1: " + checks.front() + ": expected 1, got 2";
  result.ranks.resize(2);
  for (const std::string& check : checks) result.ranks[1].failures.push_back({1, check, "expected 1, got 2"});
  return result;
}

TestResult With(Verdict verdict, const std::string& reason = "") {
  TestResult result;
  result.test = FakeTest("a");
  result.verdict = verdict;
  result.reason = reason;
  return result;
}

TestResult Applied(const Waiver& waiver, TestResult result, const std::string& version = "2.13.0+cpu") {
  ApplyWaiver(waiver, kToday, version, result);
  return result;
}

TEST(WaiverTest, FailureOfANamedCheckIsWaived) {
  Waiver waiver = WaiverOf(Verdict::kFail);
  waiver.checks = {"C1", "C2"};
  const TestResult result = Applied(waiver, Failed({"C1"}));
  EXPECT_EQ(result.verdict, Verdict::kWaived);
  EXPECT_EQ(result.reason,
            "buffer is reused (waived by core team until 2026-11-22, w.toml:3); fail: rank 1: C1: expected 1, got 2");
  EXPECT_EQ(result.waiver["found"], "fail");
  EXPECT_EQ(result.waiver["problem"], nullptr);
  EXPECT_EQ(result.waiver["expires"], "2026-11-22");
}

TEST(WaiverTest, FailureOfAnotherCheckStaysRed) {
  Waiver waiver = WaiverOf(Verdict::kFail);
  waiver.checks = {"C2"};
  for (const TestResult& failed : {Failed({"C1"}), Failed({"C2", "C1"}), Failed({""})}) {
    const TestResult result = Applied(waiver, failed);
    EXPECT_EQ(result.verdict, Verdict::kFail);
    EXPECT_THAT(result.reason, HasSubstr("; not waived: w.toml:3 names C2"));
    EXPECT_EQ(result.waiver["problem"], "names C2");
  }
}

TEST(WaiverTest, CheckThatARankOnlyCountsAsFailedIsSeen) {
  Waiver waiver = WaiverOf(Verdict::kFail);
  waiver.checks = {"C2"};
  TestResult failed = Failed({"C2"});
  failed.ranks[0].checks["C1"].failed = 1;
  EXPECT_EQ(Applied(waiver, failed).verdict, Verdict::kFail);
}

TEST(WaiverTest, FailureWithoutAnyCheckIsNotThatOfACheck) {
  Waiver waiver = WaiverOf(Verdict::kFail);
  waiver.checks = {"C2"};
  EXPECT_EQ(Applied(waiver, With(Verdict::kFail, "capability tp is not declared")).verdict, Verdict::kFail);
}

TEST(WaiverTest, ReasonMustHoldTheText) {
  Waiver waiver = WaiverOf(Verdict::kCrash);
  waiver.reason_contains = "signal 11";
  EXPECT_EQ(Applied(waiver, With(Verdict::kCrash, "rank 1 ended: (signal 11)")).verdict, Verdict::kWaived);
  const TestResult other = Applied(waiver, With(Verdict::kCrash, "rank 1 ended: (signal 9)"));
  EXPECT_EQ(other.verdict, Verdict::kCrash);
  EXPECT_EQ(other.reason, "rank 1 ended: (signal 9); not waived: w.toml:3 says \"signal 11\"");
}

TEST(WaiverTest, OtherVerdictStaysRed) {
  for (const Verdict verdict : {Verdict::kFail, Verdict::kIncomplete, Verdict::kHang, Verdict::kDiverged}) {
    const TestResult result = Applied(WaiverOf(Verdict::kCrash), With(verdict, "why"));
    EXPECT_EQ(result.verdict, verdict);
    EXPECT_EQ(result.reason, "why; not waived: w.toml:3 says crash");
  }
}

TEST(WaiverTest, MissingChecksAreThoseNamed) {
  Waiver waiver = WaiverOf(Verdict::kIncomplete);
  waiver.checks = {"C1"};
  TestResult result = With(Verdict::kIncomplete, "not evaluated on every rank: C1");
  result.missing = {"C1"};
  EXPECT_EQ(Applied(waiver, result).verdict, Verdict::kWaived);
  result.missing = {"C1", "C2"};
  EXPECT_EQ(Applied(waiver, result).verdict, Verdict::kIncomplete);
}

TEST(WaiverTest, PassIsUnexpectedAlsoWhenTheWaiverHasExpired) {
  Waiver waiver = WaiverOf(Verdict::kFail);
  EXPECT_EQ(Applied(waiver, With(Verdict::kPass)).verdict, Verdict::kUnexpectedPass);
  waiver.expires = kYesterday;
  const TestResult result = Applied(waiver, With(Verdict::kPass));
  EXPECT_EQ(result.verdict, Verdict::kUnexpectedPass);
  EXPECT_EQ(result.reason, "passed, but waiver w.toml:3 of core team says that it fails; remove it");
}

TEST(WaiverTest, WhatSaysNothingAboutTheImplementationIsLeftAlone) {
  for (const Verdict verdict :
       {Verdict::kNotSupported, Verdict::kNotApplicable, Verdict::kHarnessError, Verdict::kNotRun}) {
    const TestResult result = Applied(WaiverOf(Verdict::kCrash), With(verdict, "why"));
    EXPECT_EQ(result.verdict, verdict);
    EXPECT_EQ(result.reason, "why");
    EXPECT_EQ(result.waiver["found"], ToString(verdict));
  }
}

TEST(WaiverTest, HoldsThroughItsLastDay) {
  Waiver waiver = WaiverOf(Verdict::kHang);
  EXPECT_EQ(Applied(waiver, With(Verdict::kHang)).verdict, Verdict::kWaived);
  waiver.expires = kYesterday;
  const TestResult result = Applied(waiver, With(Verdict::kHang, "why"));
  EXPECT_EQ(result.verdict, Verdict::kHang);
  EXPECT_EQ(result.reason, "why; not waived: w.toml:3 has expired on 2026-11-21");
}

TEST(WaiverTest, HoldsForVersionsBeforeItsReview) {
  Waiver waiver = WaiverOf(Verdict::kHang);
  waiver.expires.reset();
  waiver.review_version = "2.14";
  for (const char* version : {"2.13.0+cpu", "2.13.99", "2.9", "1", "2"}) {
    EXPECT_EQ(Applied(waiver, With(Verdict::kHang), version).verdict, Verdict::kWaived) << version;
  }
  for (const char* version : {"2.14", "2.14.0", "2.14.0a0+git1", "2.14.1", "2.100", "3", "", "next"}) {
    EXPECT_EQ(Applied(waiver, With(Verdict::kHang), version).verdict, Verdict::kHang) << version;
  }
  EXPECT_THAT(Applied(waiver, With(Verdict::kHang), "2.14.1").reason,
              HasSubstr("not waived: w.toml:3 was to be looked at again in version 2.14, this is 2.14.1"));
  EXPECT_THAT(Applied(waiver, With(Verdict::kHang), "").reason, HasSubstr("version 2.14, none is known"));
}

TEST(WaiverTest, SaysNothingOfOtherVersions) {
  Waiver waiver = WaiverOf(Verdict::kHang);
  waiver.versions = VersionRange::Parse(">=2.13, <2.15");
  EXPECT_EQ(Applied(waiver, With(Verdict::kHang), "2.14.1").verdict, Verdict::kWaived);
  EXPECT_EQ(Applied(waiver, With(Verdict::kPass), "2.14.1").verdict, Verdict::kUnexpectedPass);
  EXPECT_EQ(Applied(waiver, With(Verdict::kPass), "2.15.0").verdict, Verdict::kPass);
  const TestResult red = Applied(waiver, With(Verdict::kHang, "why"), "2.15.0+cu132");
  EXPECT_EQ(red.verdict, Verdict::kHang);
  EXPECT_EQ(red.reason, "why; not waived: w.toml:3 is for >=2.13, <2.15, this is 2.15.0+cu132");
  EXPECT_EQ(red.waiver["problem"], "is for >=2.13, <2.15, this is 2.15.0+cu132");
}

using Found = std::vector<const Waiver*>;

TEST(FindWaiverTest, TestImplementationAndDeviceMustFit) {
  const TestCase test = FakeTest("a");
  std::vector<Waiver> waivers = {WaiverOf(Verdict::kFail)};
  EXPECT_EQ(FindWaivers(waivers, test, ParseImplementationSpec("torch,backend=gloo")), Found{&waivers[0]});
  EXPECT_EQ(FindWaivers(waivers, test, ParseImplementationSpec("torch+mutant=x")), Found{&waivers[0]});
  EXPECT_EQ(FindWaivers(waivers, test, ParseImplementationSpec("torch,device=cuda")), Found{});
  EXPECT_EQ(FindWaivers(waivers, test, ParseImplementationSpec("reference")), Found{});
  waivers[0].device = "*";
  EXPECT_EQ(FindWaivers(waivers, test, ParseImplementationSpec("torch,device=cuda")), Found{&waivers[0]});
  waivers[0].test = "fake/T.test_a";  // a part is not enough
  EXPECT_EQ(FindWaivers(waivers, test, ParseImplementationSpec("torch")), Found{});
}

TEST(FindWaiverTest, ThatOfTheBaseHoldsForWhatIsBasedOnIt) {
  const TestCase test = FakeTest("a");
  const std::vector<Waiver> waivers = {WaiverOf(Verdict::kFail)};
  EXPECT_EQ(FindWaiversOfBase(waivers, test, "torch", "cpu"), Found{&waivers[0]});
  EXPECT_EQ(FindWaiversOfBase(waivers, test, "torch", "cuda"), Found{});
  EXPECT_EQ(FindWaiversOfBase(waivers, test, "other", "cpu"), Found{});
  EXPECT_EQ(FindWaiversOfBase(waivers, test, "", "cpu"), Found{});
}

TEST(FindWaiverTest, TwoForOneTestAreAnError) {
  std::vector<Waiver> waivers = {WaiverOf(Verdict::kFail), WaiverOf(Verdict::kHang)};
  waivers[1].test = "*test_a*";
  waivers[1].place = "v.toml:9";
  try {
    FindWaivers(waivers, FakeTest("a"), ParseImplementationSpec("torch"));
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_STREQ(error.what(), "v.toml:9: waives fake/T.test_a/world_size=2 on torch as w.toml:3");
  }
}

TEST(FindWaiverTest, EachOfTwoIsForItsVersions) {
  std::vector<Waiver> waivers = {WaiverOf(Verdict::kFail), WaiverOf(Verdict::kHang)};
  waivers[0].versions = VersionRange::Parse("<2.15");
  waivers[1].versions = VersionRange::Parse(">=2.15");
  const Found found = FindWaivers(waivers, FakeTest("a"), ParseImplementationSpec("torch"));
  EXPECT_EQ(found, (Found{&waivers[0], &waivers[1]}));
  EXPECT_EQ(FindWaiversOfBase(waivers, FakeTest("a"), "torch", "cpu"), found);
  EXPECT_EQ(WaiverFor(found, "2.13.0+cpu"), &waivers[0]);
  EXPECT_EQ(WaiverFor(found, "2.15.0+cu132"), &waivers[1]);
  EXPECT_EQ(WaiverFor(found, ""), &waivers[0]);  // which then says that it is for others
  EXPECT_EQ(WaiverFor({}, "2.13.0"), nullptr);
  for (const char* versions : {"<=2.15", "==2.15"}) {
    waivers[0].versions = VersionRange::Parse(versions);
    EXPECT_THROW(FindWaivers(waivers, FakeTest("a"), ParseImplementationSpec("torch")), InputError) << versions;
  }
}

}  // namespace
}  // namespace shardcts
