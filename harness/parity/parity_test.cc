#include "parity/parity.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "launch/input_error.h"

namespace shardcts {
namespace {

Json Step(int step, const std::string& operation, const std::vector<Outcome>& outcomes,
          TraceData data = TraceData::kInline) {
  Json by_rank = Json::array();
  for (const Outcome& outcome : outcomes) by_rank.push_back(EncodeOutcome(outcome, {.data = data}));
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
