#include "recording/script_phases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

std::string ErrorOfPhases(const std::string& script) {
  try {
    PhaseScripts(Json::parse(script), "x.json");
  } catch (const InputError& error) {
    return error.what();
  }
  return "none";
}

TEST(ScriptPhasesTest, EachPhaseIsAScriptWithTheCommonFields) {
  const std::vector<Json> scripts = PhaseScripts(
      Json::parse(R"({"contract": 1, "seed": 3, "phases": [{"world": 2, "steps": [1]}, {"world": 3, "steps": [2]}]})"), "x.json");
  ASSERT_EQ(scripts.size(), 2u);
  EXPECT_EQ(scripts[0], Json::parse(R"({"contract": 1, "seed": 3, "role": "save", "steps": [1], "world_size": 2})"));
  EXPECT_EQ(scripts[1]["role"], "load");
  EXPECT_EQ(PhaseScripts(Json::parse(R"({"steps": []})"), "x.json").size(), 1u);
}

TEST(ScriptPhasesTest, ErrorsNameFileAndPhase) {
  EXPECT_EQ(ErrorOfPhases(R"({"phases": []})"), "x.json: \"phases\" is no list of 1 to 8 phases");
  EXPECT_EQ(ErrorOfPhases(R"({"phases": 5})"), "x.json: \"phases\" is no list of 1 to 8 phases");
  EXPECT_EQ(ErrorOfPhases(R"({"phases": [{"world": 2}], "steps": []})"),
            "x.json: has \"phases\", so \"steps\" belongs into each of them");
  EXPECT_EQ(ErrorOfPhases(R"({"phases": [{"world": 2, "steps": []}, 7]})"), "x.json: phases[1]: not an object");
  EXPECT_EQ(ErrorOfPhases(R"({"phases": [{"steps": []}]})"), "x.json: phases[0]: \"world\" is missing or no number");
  EXPECT_EQ(ErrorOfPhases(R"({"phases": [{"world": 1, "world_size": 2, "steps": []}]})"),
            "x.json: phases[0]: unknown key \"world_size\"; the nearest known one is \"world\"");
  EXPECT_EQ(ErrorOfPhases(R"({"phases": [{"world": 1, "role": "safe", "steps": []}]})"),
            "x.json: phases[0]: unknown role \"safe\"; the nearest known one is \"save\"");
}

TEST(ScriptPhasesTest, TheFolderIsNamedInWhatIsRecorded) {
  Json arguments = Json::parse(R"({"path": "/a/1-t", "deeper": ["/a/1-t/x.bin"], "other": "/a/1-tt/x", "text": "see /a/1-t"})");
  NameFolderInArguments(arguments, "/a/1-t");
  EXPECT_EQ(arguments, Json::parse(R"({"path": "${folder}", "deeper": ["${folder}/x.bin"], "other": "/a/1-tt/x", "text": "see /a/1-t"})"));
  Json outcome = Json::parse(R"({"value": ["/a/1-t/x: torn", "in /a/1-t, /a/1-t/y and /a/1-tt"]})");
  NameFolderInOutcome(outcome, "/a/1-t");
  EXPECT_EQ(outcome, Json::parse(R"({"value": ["$${folder}/x: torn", "in ${folder}, ${folder}/y and /a/1-tt"]})"));
}

TEST(ScriptPhasesTest, APathStaysInTheFolder) {
  EXPECT_EQ(ProblemOfFolderPath("${folder}"), "");
  EXPECT_EQ(ProblemOfFolderPath("${folder}/a/..b/c"), "");
  EXPECT_EQ(ProblemOfFolderPath("${folder}/a/../../b"), "\"${folder}/a/../../b\" leaves the folder");
  EXPECT_EQ(ProblemOfFolderPath("${folder}x"), "after ${folder} a path must begin with /");
  EXPECT_EQ(ProblemOfFolderPath("${fodler}/x"), "\"${fodler}\" is not ${folder}");
}

}  // namespace
}  // namespace shardcts
