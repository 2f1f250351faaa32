#include "parity/parity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

Json Step(int step, const std::string& operation, const std::vector<Outcome>& outcomes,
          TraceData data = TraceData::kInline) {
  Json by_rank = Json::array();
  for (const Outcome& outcome : outcomes) {
    std::string text;
    JsonWriter json(text);
    EncodeOutcome(outcome, json, {.data = data});
    by_rank.push_back(Json::parse(text));
  }
  return {{"step", step}, {"op", operation}, {"args", Json::object()}, {"ranks", "all"}, {"outcomes", by_rank}};
}

Json Recording(const std::vector<Json>& steps) { return {{"contract", 1}, {"steps", steps}}; }

Outcome StateDict(double value) { return Value(Dict{{"w", at::full({2}, value)}}); }

TEST(Parity, IdenticalRecordings) {
  const Json recording = Recording({Step(0, "model.state_dict", {StateDict(1), StateDict(2)})});
  const Parity parity = CompareRecordings(recording, recording);
  EXPECT_TRUE(parity.Agree());
  EXPECT_EQ(parity.operations, 2);
  EXPECT_EQ(parity.identical, 2);
  EXPECT_EQ(parity.FirstDifference(), "");
}

TEST(Parity, NamesStepRankPathAndValues) {
  const Parity parity = CompareRecordings(Recording({Step(4, "model.state_dict", {StateDict(1), StateDict(2)})}),
                                          Recording({Step(4, "model.state_dict", {StateDict(1), StateDict(3)})}));
  EXPECT_FALSE(parity.Agree());
  EXPECT_EQ(parity.different, 1);
  EXPECT_EQ(parity.FirstDifference(),
            "step 4 model.state_dict rank 1 w: index (0,): expected 2, actual 3 (2 of 2 elements differ, largest "
            "difference 1)");
}

TEST(Parity, CloseIsCountedButAgrees) {
  const Parity parity = CompareRecordings(Recording({Step(0, "model.forward", {StateDict(1)})}),
                                          Recording({Step(0, "model.forward", {StateDict(1 + 1e-6)})}));
  EXPECT_TRUE(parity.Agree());
  EXPECT_EQ(parity.close, 1);
  EXPECT_NE(parity.FirstDifference(), "");
}

TEST(Parity, OtherOperationsAndErrorsAreStructural) {
  const Json state = Recording({Step(0, "model.state_dict", {StateDict(1)})});
  EXPECT_EQ(CompareRecordings(state, Recording({Step(0, "model.forward", {StateDict(1)})})).structural, 1);
  EXPECT_EQ(CompareRecordings(state, Recording({})).structural, 1);
  const Json failed = Recording({Step(0, "model.state_dict", {Outcome(Error{"RuntimeError", "x"})})});
  EXPECT_EQ(CompareRecordings(state, failed).FirstDifference(),
            "step 0 model.state_dict rank 0: expected no error, actual RuntimeError");
  EXPECT_TRUE(CompareRecordings(failed, failed).Agree());
}

TEST(Parity, OutcomeThatOneRecordingLacksIsStructural) {
  const Json whole = Recording({Step(0, "model.state_dict", {StateDict(1), StateDict(1)})});
  const Json shorter = Recording({Step(0, "model.state_dict", {StateDict(1)})});
  EXPECT_EQ(CompareRecordings(whole, shorter).FirstDifference(), "step 0 model.state_dict rank 1: there is no outcome");
  EXPECT_EQ(CompareRecordings(shorter, whole).structural, 1);
}

TEST(Parity, DigestsDecideWhereBytesWereNotRecorded) {
  const Json one = Recording({Step(0, "model.state_dict", {StateDict(1)}, TraceData::kDigest)});
  const Json two = Recording({Step(0, "model.state_dict", {StateDict(2)}, TraceData::kDigest)});
  EXPECT_EQ(CompareRecordings(one, one).identical, 1);
  EXPECT_EQ(CompareRecordings(one, two).different, 1);
}

// A step that gives optimizer state of one parameter, its names in this order.
Json StateStep(int step, const std::string& operation, const std::vector<std::string>& names,
               const Json& args = Json::object()) {
  Dict state;
  for (const std::string& name : names) state.Set(name, at::full({2}, static_cast<double>(name.size())));
  Dict states;
  states.Set(int64_t{0}, std::move(state));
  const Value value = operation == "sharded.gather" ? Value(std::move(states)) : Value(Dict{{"state", std::move(states)}});
  Json made = Step(step, operation, {Outcome(value)});
  made["args"] = args;
  return made;
}

const std::vector<std::string> kOneOrder = {"step", "exp_avg"};
const std::vector<std::string> kOtherOrder = {"exp_avg", "step"};
const char* const kLoad = "fsdp.optim_state_dict_to_load";

int64_t StructuralDifferences(const std::vector<std::pair<std::string, Json>>& operations) {
  std::vector<Json> expected;
  std::vector<Json> actual;
  for (const auto& [operation, args] : operations) {
    const int step = static_cast<int>(expected.size());
    expected.push_back(StateStep(step, operation, kOneOrder, args));
    actual.push_back(StateStep(step, operation, kOtherOrder, args));
  }
  return CompareRecordings(Recording(expected), Recording(actual)).structural;
}

TEST(StateNameOrderTest, LoadingGivesStateNamesInAnyOrder) {
  EXPECT_EQ(StructuralDifferences({{kLoad, {}}}), 0);
  EXPECT_EQ(StructuralDifferences({{"fsdp.optim_state_dict", {}}}), 1);
}

TEST(StateNameOrderTest, AnOptimizerHasThemInAnyOrderAfterLoadingOnly) {
  EXPECT_EQ(StructuralDifferences({{"optimizer.state_dict", {}}}), 1);
  EXPECT_EQ(StructuralDifferences({{kLoad, {}}, {"optimizer.state_dict", {}}}), 0);
}

TEST(StateNameOrderTest, GatheringKeepsTheOrderOfWhatItIsGiven) {
  const Json loaded = {{"value", {{"$dict", {{0, {{"$ref", {0, "state", 0}}}}}}}}};
  const Json another = {{"value", {{"$ref", {7}}}}};
  EXPECT_EQ(StructuralDifferences({{kLoad, {}}, {"sharded.gather", loaded}}), 0);
  EXPECT_EQ(StructuralDifferences({{kLoad, {}}, {"sharded.gather", another}}), 1);
}

TEST(StateNameOrderTest, NamesAndValuesCountAllTheSame) {
  const auto compare = [](const std::vector<std::string>& names) {
    return CompareRecordings(Recording({StateStep(0, kLoad, kOneOrder)}), Recording({StateStep(0, kLoad, names)}));
  };
  EXPECT_EQ(compare(kOtherOrder).identical, 2);
  EXPECT_EQ(compare({"exp_avg"}).structural, 1);
  EXPECT_EQ(compare({"exp_avg", "else"}).structural, 2);  // one is missing, one is not expected
}

TEST(Parity, UnreadableFilesAreInputErrors) {
  const auto file = std::filesystem::temp_directory_path() / "shardcts_parity_test.json";
  std::ofstream(file) << "{\"steps\": [";
  EXPECT_THROW(CompareTraceFiles(file, file), InputError);
  std::ofstream(file) << "{\"steps\": [{}]}";
  EXPECT_THROW(CompareTraceFiles(file, file), InputError);
  EXPECT_THROW(CompareTraceFiles(file, file.string() + ".missing"), InputError);
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace shardcts
