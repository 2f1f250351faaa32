#include "parity/parity.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "contract/tensor_bytes.h"
#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

Json Step(int step, const std::string& operation, const std::vector<Outcome>& outcomes,
          const EncodeOptions& options = {}) {
  Json by_rank = Json::array();
  for (const Outcome& outcome : outcomes) by_rank.push_back(EncodeOutcome(outcome, options));
  return {{"step", step}, {"op", operation}, {"args", Json::object()}, {"ranks", "all"}, {"outcomes", by_rank}};
}

Recording Recorded(const std::vector<Json>& steps, const std::filesystem::path& blobs = "nowhere") {
  return {{{"contract", 1}, {"steps", steps}}, std::make_shared<FolderBlobs>(blobs)};
}

Outcome StateDict(double value) { return Value(Dict{{"w", at::full({2}, value)}}); }

TEST(Parity, IdenticalRecordings) {
  const Recording recording = Recorded({Step(0, "model.state_dict", {StateDict(1), StateDict(2)})});
  const Parity parity = CompareRecordings(recording, recording);
  EXPECT_TRUE(parity.Agree());
  EXPECT_EQ(parity.operations, 2);
  EXPECT_EQ(parity.identical, 2);
  EXPECT_EQ(parity.FirstDifference(), "");
}

TEST(Parity, NamesStepRankPathAndValues) {
  const Parity parity = CompareRecordings(Recorded({Step(4, "model.state_dict", {StateDict(1), StateDict(2)})}),
                                          Recorded({Step(4, "model.state_dict", {StateDict(1), StateDict(3)})}));
  EXPECT_FALSE(parity.Agree());
  EXPECT_EQ(parity.different, 1);
  EXPECT_EQ(parity.FirstDifference(),
            "step 4 model.state_dict rank 1 w: index (0,): expected 2, actual 3 (2 of 2 elements differ, largest "
            "difference 1)");
}

TEST(Parity, PhasesAreComparedOneByOne) {
  const auto phased = [](const std::vector<double>& values) {
    Json phases = Json::array();
    for (double value : values) {
      phases.push_back({{"world", 1}, {"steps", {Step(0, "model.state_dict", {StateDict(value)})}}});
    }
    return Recording{{{"contract", 1}, {"phases", phases}}, std::make_shared<FolderBlobs>("nowhere")};
  };
  EXPECT_TRUE(CompareRecordings(phased({1, 2}), phased({1, 2})).Agree());
  const Parity parity = CompareRecordings(phased({1, 2}), phased({1, 3}));
  EXPECT_EQ(parity.operations, 2);
  EXPECT_EQ(parity.different, 1);
  EXPECT_EQ(parity.FirstDifference().substr(0, 35), "phase 2 step 0 model.state_dict ran");
  EXPECT_EQ(ToJson(parity)["details"][0]["phase"], 2);
  EXPECT_EQ(CompareRecordings(phased({1, 2}), phased({1})).structural, 1);
}

TEST(Parity, WhatRanksDidBeforeTheyWereKilledIsNotCompared) {
  const auto crashed = [](double value) {
    const Json steps = {Step(0, "model.state_dict", {StateDict(value)})};
    const Json phases = {{{"world", 1}, {"steps", Json::array()}}, {{"world", 1}, {"role", "crash"}, {"steps", steps}}};
    return Recording{{{"contract", 1}, {"phases", phases}}, std::make_shared<FolderBlobs>("nowhere")};
  };
  const Parity parity = CompareRecordings(crashed(1), crashed(2));
  EXPECT_TRUE(parity.Agree()) << parity.FirstDifference();
  EXPECT_EQ(parity.operations, 0);
}

TEST(Parity, CloseIsCountedButAgrees) {
  const Parity parity = CompareRecordings(Recorded({Step(0, "model.forward", {StateDict(1)})}),
                                          Recorded({Step(0, "model.forward", {StateDict(1 + 1e-6)})}));
  EXPECT_TRUE(parity.Agree());
  EXPECT_EQ(parity.close, 1);
  EXPECT_NE(parity.FirstDifference(), "");
}

TEST(Parity, OtherOperationsAndErrorsAreStructural) {
  const Recording state = Recorded({Step(0, "model.state_dict", {StateDict(1)})});
  EXPECT_EQ(CompareRecordings(state, Recorded({Step(0, "model.forward", {StateDict(1)})})).structural, 1);
  EXPECT_EQ(CompareRecordings(state, Recorded({})).structural, 1);
  const Recording failed = Recorded({Step(0, "model.state_dict", {Outcome(Error{"RuntimeError", "x"})})});
  EXPECT_EQ(CompareRecordings(state, failed).FirstDifference(),
            "step 0 model.state_dict rank 0: expected no error, actual RuntimeError");
  EXPECT_TRUE(CompareRecordings(failed, failed).Agree());
}

TEST(Parity, OutcomeThatOneRecordingLacksIsStructural) {
  const Recording whole = Recorded({Step(0, "model.state_dict", {StateDict(1), StateDict(1)})});
  const Recording shorter = Recorded({Step(0, "model.state_dict", {StateDict(1)})});
  EXPECT_EQ(CompareRecordings(whole, shorter).FirstDifference(), "step 0 model.state_dict rank 1: there is no outcome");
  EXPECT_EQ(CompareRecordings(shorter, whole).structural, 1);
}

TEST(Parity, DigestsDecideWhereBytesWereNotRecorded) {
  const EncodeOptions digests{.largest_data = 0};
  const Recording one = Recorded({Step(0, "model.state_dict", {StateDict(1)}, digests)});
  const Recording two = Recorded({Step(0, "model.state_dict", {StateDict(2)}, digests)});
  EXPECT_EQ(CompareRecordings(one, one).identical, 1);
  EXPECT_EQ(CompareRecordings(one, two).different, 1);
  EXPECT_THAT(CompareRecordings(one, two).FirstDifference(), testing::HasSubstr("were not recorded"));
}

Outcome Pair(double first, double second) {
  return Value(Dict{{"a", at::full({2}, first)}, {"b", at::full({2}, second)}});
}

TEST(Parity, BlobsAreOpenedOnlyWhereDigestsDiffer) {
  TemporaryFolder folder;
  BlobStore store(folder.path());
  const EncodeOptions options{.largest_data = 0, .keep = [&](const std::string& digest, std::string_view bytes) {
                                store.Put(digest, bytes);
                                return true;
                              }};
  const auto record = [&](double first, double second) {
    return Recorded({Step(0, "model.state_dict", {Pair(first, second)}, options)}, folder.path());
  };
  const Recording expected = record(1, 2);
  const Recording actual = record(1, 3);
  const std::string same = Digest(TensorBytes(at::full({2}, 1.0)));
  ASSERT_TRUE(std::filesystem::remove(folder.path() / same));
  const Parity parity = CompareRecordings(expected, actual);
  EXPECT_EQ(parity.tensors, 2);
  EXPECT_EQ(parity.identical, 1);
  EXPECT_EQ(parity.FirstDifference(),
            "step 0 model.state_dict rank 0 b: index (0,): expected 2, actual 3 (2 of 2 elements differ, largest "
            "difference 1)");
  std::filesystem::remove(folder.path() / Digest(TensorBytes(at::full({2}, 3.0))));
  EXPECT_THROW(CompareRecordings(expected, actual), InputError) << "a blob that is needed is not there";
}

TEST(Parity, AValueInABlobIsWhatTheBlobSays) {
  TemporaryFolder folder;
  BlobStore store(folder.path());
  const auto record = [&](double value) {
    Json step = Step(0, "model.state_dict", {StateDict(value)});
    Json& held = step["outcomes"][0]["value"];
    const std::string text = held.dump();
    store.Put(Digest(text), text);
    held = {{"$blob", Digest(text)}, {"tensors", 1}};
    return Recorded({step}, folder.path());
  };
  EXPECT_EQ(CompareRecordings(record(1), record(1)).identical, 1);
  EXPECT_EQ(CompareRecordings(record(1), record(2)).different, 1);
  EXPECT_EQ(CompareRecordings(record(1), Recorded({Step(0, "model.state_dict", {StateDict(1)})})).identical, 1);
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
  return CompareRecordings(Recorded(expected), Recorded(actual)).structural;
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
    return CompareRecordings(Recorded({StateStep(0, kLoad, kOneOrder)}), Recorded({StateStep(0, kLoad, names)}));
  };
  EXPECT_EQ(compare(kOtherOrder).identical, 2);
  EXPECT_EQ(compare({"exp_avg"}).structural, 1);
  EXPECT_EQ(compare({"exp_avg", "else"}).structural, 2);  // one is missing, one is not expected
}

TEST(Parity, WhatIsNoRecordingIsAnInputError) {
  TemporaryFolder folder;
  const auto file = folder.path() / "x.json";
  std::ofstream(file) << "{\"steps\": [";
  EXPECT_THROW(CompareTraces(file, file), InputError);
  std::ofstream(file) << "{\"steps\": [{}]}";
  EXPECT_THROW(CompareTraces(file, file), InputError);
  EXPECT_THROW(CompareTraces(file, file.string() + ".missing"), InputError);
}

}  // namespace
}  // namespace shardcts
