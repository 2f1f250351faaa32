#include "results/waiver_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_files/input_error.h"
#include "testing/fake_test.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

// Lines 1 to 9; every field that must be there, and `expires`.
const std::string kWhole = R"([[waiver]]
test = "fake/T.test_a/world_size=2"
implementation = "torch"
device = "cpu"
verdict = "crash"
owner = "core team"
reason = "buffer is reused"
evidence = "https://example.org/1"
expires = 2027-01-31
)";

std::vector<Waiver> Parse(const std::string& text) {
  return ParseWaivers(text, "w.toml", {FakeTest("a"), FakeTest("b")});
}

std::string ErrorOf(const std::string& text) {
  try {
    Parse(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

// The whole waiver with one text in place of another.
std::string Changed(const std::string& from, const std::string& to) {
  std::string text = kWhole;
  return text.replace(text.find(from), from.size(), to);
}

TEST(WaiverFileTest, ReadsAllFields) {
  const std::string text = Changed("verdict = \"crash\"", "verdict = \"fail\"\nchecks = [\"C1\"]") +
                           "reason_contains = \"got 2\"\nreview_version = \"2.14\"\nversions = \"<3\"\n";
  const std::vector<Waiver> waivers = Parse("# a comment\n" + text);
  ASSERT_EQ(waivers.size(), 1u);
  EXPECT_EQ(ToJson(waivers[0]), nlohmann::ordered_json::parse(R"({
    "place": "w.toml:2", "test": "fake/T.test_a/world_size=2", "implementation": "torch", "device": "cpu",
    "verdict": "fail", "checks": ["C1"], "reason_contains": "got 2", "owner": "core team",
    "reason": "buffer is reused", "evidence": "https://example.org/1", "expires": "2027-01-31",
    "review_version": "2.14", "versions": "<3"})"));
}

TEST(WaiverFileTest, NothingInAFileIsNoError) { EXPECT_TRUE(Parse("# nothing\n").empty()); }

TEST(WaiverFileTest, EachErrorNamesFileAndLine) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {Changed("owner =", "ownr ="), "w.toml:6: unknown field \"ownr\"; the nearest known one is \"owner\""},
      {Changed("owner = \"core team\"\n", ""), "w.toml:1: field \"owner\" is missing"},
      {Changed("\"core team\"", "\" \""), "w.toml:6: \"owner\" must be a text that is not empty"},
      {Changed("\"core team\"", "7"), "w.toml:6: \"owner\" must be a text that is not empty"},
      {Changed("\"core team\"", "\"a\\nb\""), "w.toml:6: \"owner\" must be one line"},
      {Changed("\"core team\"", "\"" + std::string(1001, 'x') + "\""), "w.toml:6: \"owner\" is longer than 1000 bytes"},
      {Changed("owner =", [] {
         std::string key = "a";
         for (int i = 0; i < 50'000; ++i) key += ".a";
         return key + " = 1\nowner =";
       }()), "w.toml:6: a key of more than 100 parts"},
      {Changed("expires = 2027-01-31\n", ""),
       "w.toml:1: needs \"expires\", \"review_version\" or \"versions\" with an upper bound"},
      {Changed("expires = 2027-01-31", "versions = \">=2.13\""),
       "w.toml:1: needs \"expires\", \"review_version\" or \"versions\" with an upper bound"},
      {Changed("expires = 2027-01-31", "versions = \"2.13 to 2.15\""),
       "w.toml:9: \"2.13 to 2.15\" is no range of versions such as \">=2.13, <2.15\""},
      {Changed("2027-01-31", "\"2027-01-31\""),
       "w.toml:9: \"expires\" must be a date without quotes, as in expires = 2027-01-31"},
      {Changed("expires = 2027-01-31", "review_version = \"next\""),
       "w.toml:9: \"next\" is no version such as \"2.14\""},
      {Changed("test_a", "test_c"), "w.toml:2: no test fits \"fake/T.test_c/world_size=2\""},
      {Changed("fake/T.test_a/world_size=2", "test_a"), "w.toml:2: no test fits \"test_a\""},
      {Changed("\"torch\"", "\"tocrh\""),
       "w.toml:3: unknown implementation \"tocrh\": reference, torch, python:MODULE:CLASS, PATH.so"},
      {Changed("\"torch\"", "\"tocrh*\""), "w.toml:3: no implementation fits \"tocrh*\""},
      {Changed("\"torch\"", "\"torch+mutant=x\""), "w.toml:3: \"torch+mutant=x\" names more than an implementation"},
      {Changed("\"torch\"", "\"torch,device=cuda\""),
       "w.toml:3: \"torch,device=cuda\" names more than an implementation"},
      {Changed("\"crash\"", "\"harness_error\""),
       "w.toml:5: verdict \"harness_error\" is none of fail, incomplete, crash, hang, diverged"},
      {Changed("\"crash\"", "\"fail\""), "w.toml:1: fail needs \"checks\" or \"reason_contains\""},
      {kWhole + "checks = [\"C1\"]\n", "w.toml:10: \"checks\" are of fail and incomplete only"},
      {Changed("\"crash\"", "\"incomplete\"") + "checks = []\n", "w.toml:10: \"checks\" must be a list of check ids"},
      {Changed("\"crash\"", "\"incomplete\"") + "checks = [\"C1\", 2]\n",
       "w.toml:10: \"checks\" must be a list of check ids"},
      {Changed("\"crash\"", "\"incomplete\"") + "checks = [\"C9\"]\n", "w.toml:10: the test has no check \"C9\""},
      {"waivers = 1\n", "w.toml:1: unknown field \"waivers\"; the nearest known one is \"waiver\""},
      {Changed("[[waiver]]", "[waiver]"), "w.toml:1: waivers are written as [[waiver]]"},
      {kWhole + "\n" + kWhole, "w.toml:11: waives the same as w.toml:1"},
  };
  for (const auto& [text, message] : rows) EXPECT_EQ(ErrorOf(text), message);
}

TEST(WaiverFileTest, TwoMayWaiveTheSameForOtherVersions) {
  const std::string first = kWhole + "versions = \"<2.15\"\n";
  EXPECT_EQ(Parse(first + kWhole + "versions = \">=2.15, <3\"\n").size(), 2u);
  EXPECT_EQ(ErrorOf(first + kWhole + "versions = \">=2.14, <3\"\n"), "w.toml:11: waives the same as w.toml:1");
  EXPECT_EQ(ErrorOf(first + kWhole), "w.toml:11: waives the same as w.toml:1");
}

TEST(WaiverFileTest, WhatIsNotTomlIsToldWithItsLine) {
  EXPECT_THAT(ErrorOf(Changed("2027-01-31", "2027-02-30")), testing::StartsWith("w.toml:9: "));
  EXPECT_THAT(ErrorOf(Changed("owner = \"core team\"", "owner =")), testing::StartsWith("w.toml:6: "));
  EXPECT_THAT(ErrorOf("\xff"), testing::StartsWith("w.toml:1: "));
  EXPECT_EQ(ErrorOf(kWhole.substr(0, 30)).find('\n'), std::string::npos);
}

TEST(WaiverFileTest, PatternsOfImplementations) {
  for (const char* pattern : {"*", "tor??", "python:module:*", "*/libmine.so"}) {
    EXPECT_EQ(Parse(Changed("\"torch\"", "\"" + std::string(pattern) + "\""))[0].implementation, pattern);
  }
}

TEST(LoadWaiversTest, FilesThatAreNone) {
  const TemporaryFolder folder;
  for (const auto& path : {folder.path(), folder.path() / "absent.toml"}) {
    try {
      LoadWaivers({path});
      FAIL() << "no error";
    } catch (const InputError& error) {
      EXPECT_EQ(error.what(), path.string() + ": cannot be read");
    }
  }
}

}  // namespace
}  // namespace shardcts
