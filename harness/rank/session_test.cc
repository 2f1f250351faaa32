#include "rank/session.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "rank/testing/lone_rank.h"

namespace shardcts {
namespace {

TEST(Session, GivesTheImplementationsOutcome) {
  LoneRank rank([](std::string_view, const Dict&) { return Outcome(Value(Handle{"model", 5})); });
  EXPECT_EQ(rank.session().Call("model.build", {{"model", "mlp"}}).value().AsHandle().id, 5);
}

TEST(Session, WrongArgumentsAreOurFault) {
  LoneRank rank([](std::string_view, const Dict&) { return Outcome(Value()); });
  EXPECT_THROW(rank.session().Call("model.build", {}), HarnessError);
  EXPECT_THROW(rank.session().Call("model.build", {{"model", 3}}), HarnessError);
  EXPECT_THROW(rank.session().Call("model.explode", {}), HarnessError);
}

TEST(Session, AResultOfTheWrongTypeIsTheImplementationsFault) {
  LoneRank rank([](std::string_view, const Dict&) { return Outcome(Value("a model")); });
  const Outcome outcome = rank.session().Call("model.build", {{"model", "mlp"}});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, "ContractViolation");
  EXPECT_EQ(outcome.error().message, "the result must be handle model, it is \"a model\"");
}

TEST(Session, AMistypedValueThatTheImplementationGaveIsItsFault) {
  LoneRank rank([](std::string_view, const Dict&) { return Outcome(Value(Dict{{"w", at::ones({2})}})); });
  const Value state = rank.session().Call("model.state_dict", {{"model", Handle{"model", 1}}}).value();
  const Outcome outcome = rank.session().Call("tensor.full", {{"value", state.AsDict().At("w")}});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, "ContractViolation");
  EXPECT_THROW(rank.session().Call("tensor.full", {{"value", at::ones({2})}}), HarnessError);
}

TEST(Session, AResultThatCannotBeReadIsTheImplementationsFault) {
  LoneRank rank([](std::string_view, const Dict&) { return Outcome(Value(at::zeros({1}).expand({int64_t{1} << 40}))); });
  const Outcome outcome = rank.session().Call("model.parameters", {{"model", Handle{"model", 1}}});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, "ContractViolation");
  EXPECT_EQ(outcome.error().message,
            "the result cannot be taken: a tensor of shape (1099511627776,) that repeats the 4 bytes of its storage");
}

TEST(Session, AnImplementationThatCannotBeResetIsOfNoUseAfterTheTest) {
  LoneRank rank([](std::string_view operation, const Dict&) {
    return operation == "implementation.reset" ? Outcome(Error{"RuntimeError", "busy"}) : Outcome(Value());
  });
  rank.session().StartTest(nullptr, 7);
  EXPECT_EQ(rank.session().EndTest(), "implementation.reset: RuntimeError: busy");
}

TEST(Session, AnImplementationThatCannotBeSeededFailsTheTest) {
  LoneRank rank([](std::string_view operation, const Dict&) {
    return operation == "implementation.seed" ? Outcome(Error{"RuntimeError", "busy"}) : Outcome(Value());
  });
  EXPECT_THROW(rank.session().StartTest(nullptr, 7), OperationFailed);
  EXPECT_EQ(rank.session().EndTest(), std::nullopt);
}

TEST(Session, RecordsArgumentsAsReferencesAndOutcomes) {
  LoneRank rank([](std::string_view operation, const Dict&) {
    return operation == "model.state_dict" ? Outcome(Value(Dict{{"w", at::ones({2})}})) : Outcome(Value(at::ones({2})));
  });
  const auto file = std::filesystem::temp_directory_path() / "shardcts_session_test.jsonl";
  rank.session().StartTest(std::make_unique<Recorder>(file, TraceData::kInline), 7);
  const Value state = rank.session().Call("model.state_dict", {{"model", Handle{"model", 1}}}).value();
  rank.session().Call("tensor.clone", {{"value", state.AsDict().At("w")}});
  rank.session().EndTest();

  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  const Json first = Json::parse(line);
  EXPECT_EQ(first["op"], "model.state_dict");
  EXPECT_EQ(first["args"]["model"].dump(), R"({"$handle":"model:1"})");
  EXPECT_TRUE(first["outcome"]["value"]["w"]["$tensor"].contains("data"));
  std::getline(stream, line);
  const Json second = Json::parse(line);
  EXPECT_EQ(second["step"], 1);
  EXPECT_EQ(second["args"]["value"].dump(), R"({"$ref":[0,"w"]})");
  EXPECT_FALSE(second["outcome"]["value"]["$tensor"].contains("data")) << "the same bytes stand in the file already";
  std::filesystem::remove(file);
}

}  // namespace
}  // namespace shardcts
