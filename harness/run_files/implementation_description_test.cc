#include "run_files/implementation_description.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

Json Good() {
  return Json::parse(R"({"name": "mine", "version": "1.2", "capabilities": ["core"], "devices": ["cpu"],
                         "patches": [{"target": "x.y", "reason": "no GPU"}], "notes": {"torch": "2.13", "ranks": 4}})");
}

std::string ProblemWith(const std::string& key, const Json& value) {
  Json changed = Good();
  changed[key] = value;
  return FindDescriptionProblem(changed).value_or("none");
}

TEST(ImplementationDescriptionTest, RightOnesHaveNoProblem) {
  EXPECT_EQ(FindDescriptionProblem(Good()), std::nullopt);
  EXPECT_EQ(FindDescriptionProblem(Json::parse(R"({"name": "x", "version": "0", "capabilities": []})")), std::nullopt);
}

TEST(ImplementationDescriptionTest, TypesAreChecked) {
  EXPECT_EQ(FindDescriptionProblem(Json(5)), "expected a dict, got 5");
  EXPECT_EQ(FindDescriptionProblem(Json::parse(R"({"name": "x", "version": "0"})")), "capabilities: is missing");
  EXPECT_EQ(FindDescriptionProblem(Json::parse(R"({"name": "x", "capabilities": []})")), "version: is missing");
  EXPECT_EQ(ProblemWith("name", ""), "name: is empty");
  EXPECT_EQ(ProblemWith("version", ""), "version: is empty");
  EXPECT_EQ(ProblemWith("name", 5), "name: expected a text, got 5");
  EXPECT_EQ(ProblemWith("version", Json::array()), "version: expected a text, got []");
  EXPECT_EQ(ProblemWith("capabilities", "core"), "capabilities: expected a list of texts, got \"core\"");
  EXPECT_EQ(ProblemWith("capabilities", {"core", 7}), "capabilities[1]: expected a text, got 7");
  EXPECT_EQ(ProblemWith("patches", {{{"target", "x"}}}), "patches[0]: expected {target, reason}, got {\"target\":\"x\"}");
  EXPECT_EQ(ProblemWith("patches", {{{"target", "x"}, {"reason", ""}}}), "patches[0].reason: is empty");
  EXPECT_EQ(ProblemWith("notes", {{"a", {1}}}), "notes.a: expected a text, got [1]");
  EXPECT_EQ(ProblemWith("mood", "good"), "unknown field \"mood\"");
}

TEST(ImplementationDescriptionTest, TextsAndListsAreBounded) {
  EXPECT_EQ(ProblemWith("name", std::string(5'000'000, 'x')), "name: longer than 1000 bytes");
  EXPECT_EQ(ProblemWith("devices", std::vector<std::string>(2000, "cpu")), "devices: more than 1000 entries");
  EXPECT_EQ(ProblemWith("notes", {{"n", std::string(100'000, 'x')}}), "notes.n: longer than 65536 bytes");
}

}  // namespace
}  // namespace shardcts
