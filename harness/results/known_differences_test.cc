#include "results/known_differences.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_files/input_error.h"
#include "testing/fake_test.h"

namespace shardcts {
namespace {

const std::string kText = R"([[waiver]]
test = "not read here"

[[difference]]
test = "fake/T.test_a/*"
implementation = "torch"
reason = "another order"
evidence = "docs/deviations.md"
)";

std::vector<KnownDifference> Parse(const std::string& text) {
  return ParseKnownDifferences(text, "d.toml", {FakeTest("test_a"), FakeTest("test_b")});
}

std::string Changed(const std::string& from, const std::string& to) {
  std::string text = kText;
  return text.replace(text.find(from), from.size(), to);
}

TEST(KnownDifferencesTest, ReadsThoseOfAFile) {
  const std::string id = FakeTest("test_a").id;
  const std::vector<KnownDifference> known = Parse(Changed("fake/T.test_a/*", id));
  ASSERT_EQ(known.size(), 1u);
  EXPECT_EQ(known[0].place, "d.toml:4");
  EXPECT_EQ(known[0].reason, "another order");
  EXPECT_EQ(FindKnownDifference(known, FakeTest("test_a"), {{"reference", "0.1"}, {"torch", "2.13.0+cpu"}}), &known[0]);
  EXPECT_EQ(FindKnownDifference(known, FakeTest("test_a"), {{"reference", "0.1"}, {"python:m:C", "2.13.0"}}), nullptr);
  EXPECT_EQ(FindKnownDifference(known, FakeTest("test_b"), {{"reference", "0.1"}, {"torch", "2.13.0+cpu"}}), nullptr);
}

TEST(KnownDifferencesTest, OneMayBeForSomeVersions) {
  const std::vector<KnownDifference> known = Parse(Changed("fake/T.test_a/*", FakeTest("test_a").id) + "versions = \">=2.15\"\n");
  const auto found = [&](const std::string& reference, const std::string& torch) {
    return FindKnownDifference(known, FakeTest("test_a"), {{"reference", reference}, {"torch", torch}}) != nullptr;
  };
  EXPECT_TRUE(found("0.1", "2.15.0+cu132"));
  EXPECT_FALSE(found("0.1", "2.14.1"));
  EXPECT_FALSE(found("2.15", "2.14.1"));
}

TEST(KnownDifferencesTest, EachErrorNamesFileAndLine) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {Changed("fake/T.test_a/*", "fake/none"), "d.toml:5: no test fits \"fake/none\""},
      {Changed("reason = \"another order\"\n", ""), "d.toml:4: field \"reason\" is missing"},
      {Changed("reason =", "owner ="), "d.toml:7: unknown field \"owner\""},
      {Changed("\"another order\"", "\" \""), "d.toml:7: \"reason\" must be a text that is not empty"},
      {kText + "versions = \"2.15\"\n", "d.toml:9: \"2.15\" is no range of versions such as \">=2.13, <2.15\""},
      {Changed("[[difference]]", "[difference]"), "d.toml:4: differences are written as [[difference]]"},
      {Changed("[[difference]]", "[[diference]]"), "d.toml:4: unknown field \"diference\""},
  };
  for (const auto& [text, message] : rows) {
    try {
      Parse(text);
      ADD_FAILURE() << "no error: " << message;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), testing::StartsWith(message));
    }
  }
}

TEST(KnownDifferencesTest, TheRecordedOnesAreRead) { EXPECT_FALSE(LoadKnownDifferences().empty()); }

}  // namespace
}  // namespace shardcts
