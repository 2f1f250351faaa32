#include "rank/session.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "contract/tensor_bytes.h"
#include "rank/recorder.h"
#include "rank/testing/lone_rank.h"
#include "testing/temporary_folder.h"

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

TEST(Session, AnErrorWithoutAKindIsTheImplementationsFault) {
  LoneRank rank([](std::string_view, const Dict&) { return Outcome(Error{"", ""}); });
  const Outcome outcome = rank.session().Call("model.build", {{"model", "mlp"}});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, "ContractViolation");
  EXPECT_EQ(outcome.error().message, "the error has no kind; its text is \"\"");
}

LoneRank Refusing(const std::string& message, std::vector<std::string> capabilities = {}) {
  return LoneRank([message](std::string_view, const Dict&) { return Outcome(Error{"NotSupported", message}); },
                  std::move(capabilities));
}

const Dict kWrap{{"model", Handle{"model", 1}}, {"path", ""}, {"wrapper", "fsdp"}};

TEST(Session, AnOptionThatIsNotSupportedEndsTheTest) {
  LoneRank rank = Refusing("options.use_orig_params: only flat parameters", {"fsdp1"});
  try {
    rank.session().Call("model.wrap", kWrap);
    FAIL() << "it must throw";
  } catch (const OptionNotSupported& refusal) {
    EXPECT_STREQ(refusal.what(),
                 "model.wrap: an option is not supported: options.use_orig_params: only flat parameters");
  }
}

TEST(Session, ARefusalThatNamesNoOptionIsAFault) {
  for (const char* message : {"", "model", "this rank has no time"}) {
    const Outcome outcome = Refusing(message).session().Call("model.wrap", kWrap);
    ASSERT_FALSE(outcome.ok());
    EXPECT_EQ(outcome.error().kind, "ContractViolation");
    EXPECT_EQ(outcome.error().message,
              std::string("NotSupported must name an option of model.wrap first (wrapper, options), or a field of one; "
                          "it says: ") + message);
  }
}

TEST(Session, WhatIsDeclaredCannotBeRefused) {
  EXPECT_THROW(Refusing("wrapper", {"core"}).session().Call("model.wrap", kWrap), OptionNotSupported);
  const Outcome outcome = Refusing("wrapper: later", {"core", "fsdp1"}).session().Call("model.wrap", kWrap);
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.error().kind, "ContractViolation");
  EXPECT_EQ(outcome.error().message, "capability fsdp1 is declared, but NotSupported: wrapper: later");
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
  const TemporaryFolder folder;
  const auto file = folder.path() / "rank-0.jsonl";
  rank.session().StartTest(
      std::make_unique<Recorder>(file, folder.path() / "blobs", TraceData::kInline, Json{{"recording", 2}}), 7);
  const Value state = rank.session().Call("model.state_dict", {{"model", Handle{"model", 1}}}).value();
  rank.session().Call("tensor.clone", {{"value", state.AsDict().At("w")}});
  rank.session().EndTest();

  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  EXPECT_EQ(line, R"({"recording":2})");
  std::getline(stream, line);
  const Json first = Json::parse(line);
  EXPECT_EQ(first["op"], "model.state_dict");
  EXPECT_EQ(first["args"]["model"].dump(), R"({"$handle":"model:1"})");
  EXPECT_TRUE(first["outcome"]["value"]["w"]["$tensor"].contains("data"));
  std::getline(stream, line);
  const Json second = Json::parse(line);
  EXPECT_EQ(second["step"], 1);
  EXPECT_EQ(second["args"]["value"].dump(), R"({"$ref":[0,"w"]})");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "blobs")) << "8 bytes are shorter than their digest";
}

// What is kept of 100 bytes as an argument and as a result, and of 100,000.
std::vector<int> KeptBytes(TraceData data) {
  std::vector<int> kept;
  for (const int64_t size : {100, 100'000}) {
    LoneRank rank([](std::string_view operation, const Dict& arguments) {
      return operation == "tensor.clone" ? Outcome(arguments.At("value").AsTensor() + 1) : Outcome(Value());
    });
    const TemporaryFolder folder;
    rank.session().StartTest(std::make_unique<Recorder>(folder.path() / "x", folder.path() / "blobs", data, Json()), 7);
    const at::Tensor argument = at::zeros({size}, at::kByte);
    rank.session().Call("tensor.clone", {{"value", argument}});
    for (const at::Tensor& tensor : {argument, at::Tensor(argument + 1)}) {
      kept.push_back(std::filesystem::exists(folder.path() / "blobs" / Digest(TensorBytes(tensor))));
    }
  }
  return kept;
}

TEST(Recorder, KeepsTheBytesThatItsModeSays) {
  EXPECT_EQ(KeptBytes(TraceData::kDigest), (std::vector{0, 0, 0, 0}));
  EXPECT_EQ(KeptBytes(TraceData::kInline), (std::vector{1, 1, 1, 0}));
  EXPECT_EQ(KeptBytes(TraceData::kFull), (std::vector{1, 1, 1, 1}));
}

TEST(Recorder, ALargeValueStandsInABlob) {
  const auto give = [](std::string_view, const Dict&) {
    Dict many;
    for (int i = 0; i < 50; ++i) many.Set(std::to_string(i), at::full({2}, i));
    return Outcome(Value(many));
  };
  const TemporaryFolder folder;
  LoneRank rank(give);
  rank.session().StartTest(
      std::make_unique<Recorder>(folder.path() / "x", folder.path() / "blobs", TraceData::kInline, Json()), 7);
  rank.session().Call("model.state_dict", {{"model", Handle{"model", 1}}});
  rank.session().EndTest();
  std::ifstream stream(folder.path() / "x");
  std::string line;
  std::getline(stream, line);
  std::getline(stream, line);
  const Json value = Json::parse(line)["outcome"]["value"];
  EXPECT_EQ(value["tensors"], 50);
  const std::string text = FolderBlobs(folder.path() / "blobs").Read(value["$blob"].get<std::string>());
  EXPECT_EQ(Json::parse(text).size(), 50u);
}

}  // namespace
}  // namespace shardcts
