#include "rank/script.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "rank/testing/lone_rank.h"
#include "recording/recording.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

class ScriptTest : public testing::Test {
 protected:
  ~ScriptTest() override { std::filesystem::remove(file_); }

  Script Read(const std::string& text) {
    std::ofstream(file_) << text;
    return ReadScript(file_);
  }
  // What is wrong with a script of these steps; the file's name is left out.
  std::string Wrong(const std::string& steps, int recording = 2) {
    try {
      Read(R"({"contract": 1, "world_size": 2, "recording": )" + std::to_string(recording) + R"(, "steps": )" + steps +
           "}");
      return "nothing";
    } catch (const InputError& error) {
      const std::string text = error.what();
      return text.substr(text.find(file_) == 0 ? file_.size() + 2 : 0);
    }
  }

  std::string file_ =
      (std::filesystem::temp_directory_path() / ("shardcts_script_" + std::to_string(getpid()) + ".json")).string();
};

TEST_F(ScriptTest, AnotherDeviceTypeStandsWhereItsOwnStood) {
  Script script = Read(R"({"contract": 1, "device": "cuda", "steps": [
    {"let": "m", "op": "model.build", "args": {"model": "mlp", "args": {"dim": 2}, "device": "cuda"}},
    {"op": "model.build", "args": {"model": "mlp", "args": {"dim": 2}}},
    {"op": "model.to", "args": {"model": "$m", "device": "cpu"}},
    {"op": "model.forward", "args": {"model": "$m", "inputs": [{"$tensor":
      {"shape": [1], "dtype": "float32", "device": "cuda", "data": "AACAPw=="}}]}}]})");
  UseDevice(script, "npu");
  EXPECT_EQ(script.steps[0].arguments[0]["device"], "npu");
  EXPECT_FALSE(script.steps[1].arguments[0].contains("device"));  // the CPU's
  EXPECT_EQ(script.steps[2].arguments[0]["device"], "cpu");
  EXPECT_EQ(script.steps[3].arguments[0]["inputs"][0]["$tensor"]["device"], "npu");
}

TEST_F(ScriptTest, AScriptForTheCpuIsForAnyDevice) {
  Script script = Read(R"({"contract": 1, "steps": [
    {"let": "m", "op": "model.build", "args": {"model": "mlp", "args": {"dim": 2}}},
    {"op": "model.build", "args": {"model": "mlp", "args": {"dim": 2}, "device": "meta"}},
    {"op": "tensor.clone", "args": {"value": {"$tensor": {"shape": [1], "dtype": "float32", "data": "AACAPw=="}}},
     "expect": {"value": {"device_type": "cpu"}}}]})");
  UseDevice(script, "npu");
  EXPECT_EQ(script.steps[0].arguments[0]["device"], "npu");
  EXPECT_EQ(script.steps[1].arguments[0]["device"], "meta");
  EXPECT_EQ(script.steps[2].arguments[0]["value"]["$tensor"]["device"], "npu");
  EXPECT_EQ(script.steps[2].expect["value"]["device_type"], "npu");
}

TEST_F(ScriptTest, ADeviceThatIsNeitherItsOwnNorTheOneUnderTestIsRefused) {
  Script script = Read(R"({"contract": 1, "device": "cuda", "steps": [
    {"op": "model.build", "args": {"model": "mlp", "args": {"dim": 2}, "device": "cuda:1"}}]})");
  try {
    UseDevice(script, "npu");
    FAIL() << "no error";
  } catch (const InputError& error) {
    EXPECT_NE(std::string(error.what()).find(
                  "steps[0]: names device cuda:1; the script is for device type cuda, and is to run on npu"),
              std::string::npos);
  }
}

TEST_F(ScriptTest, BadScriptsNameThePlace) {
  EXPECT_EQ(Wrong("[]"), "no steps");
  EXPECT_EQ(Wrong(R"([{"op": "model.explode"}])"), "steps[0]: unknown operation \"model.explode\"; the nearest known one is \"model.build\"");
  EXPECT_EQ(Wrong(R"([{"op": "model.build"}])"), "steps[0]: model.build: argument \"model\" is missing");
  EXPECT_EQ(Wrong(R"([{"op": "model.build", "args": {"model": "mlp", "size": 3}}])"),
            "steps[0]: model.build: unknown argument \"size\"; the nearest known one is \"model\"");
  EXPECT_EQ(Wrong(R"([{"op": "model.state_dict", "args": {"model": "$m"}}])"),
            "steps[0]: \"$m\" names no earlier step");
  EXPECT_EQ(Wrong(R"([{"op": "model.state_dict", "args": {"model": {"$ref": [4]}}}])"),
            "steps[0]: $ref [4] names no earlier step");
  EXPECT_EQ(Wrong(R"([{"op": "implementation.seed", "args": {"seed": 1}, "ranks": [5]}])"),
            "steps[0]: rank 5 of 2 ranks");
  EXPECT_EQ(Wrong(R"([{"op": "implementation.seed", "args": {"seed": 1}, "ranks": []}])"),
            "steps[0]: ranks is empty: nobody would do this step");
  EXPECT_EQ(Wrong(R"([{"op": "implementation.seed", "args": {"seed": 1}, "expect": {"error": 5}}])"),
            "steps[0]: expect: the kind of an error is a text");
  EXPECT_EQ(Wrong(R"([{"op": "mesh.init", "args": {"shape": [2]}, "ranks": [0]}])"),
            "steps[0]: mesh.init is collective: all ranks must call it (or these \"among\" themselves)");
  EXPECT_EQ(Wrong(R"([{"op": "mesh.init", "args": {"shape": [1]}, "ranks": [0], "among": true}])"), "nothing");
  EXPECT_EQ(Wrong(R"([{"op": "implementation.seed", "args": {"seed": "x"}}])"),
            "steps[0]: implementation.seed: argument \"seed\": expected int, got \"x\"");
  EXPECT_EQ(Wrong(R"([{"op": "model.parameters", "args": {"model": {"$handle": "mesh:0"}}}])"),
            "steps[0]: model.parameters: argument \"model\": expected handle model, got mesh 0");
  EXPECT_EQ(
      Wrong(
          R"([{"op": "tensor.clone", "args": {"value": {"$tensor": {"shape": [-4], "dtype": "float32", "data": ""}}}}])"),
      "steps[0]: tensor.clone: argument \"value\": impossible shape (-4,)");
  EXPECT_EQ(Wrong(R"([{"op": "implementation.seed", "args": {"seed": 1}, "extra": 1}])"),
            "steps[0]: unknown key \"extra\"; the nearest known one is \"expect\"");
  EXPECT_EQ(Wrong(R"([{"op": "implementation.seed", "args_by_rank": [{"seed": 1}]}])"),
            "steps[0]: args_by_rank needs one entry per rank");
  EXPECT_EQ(Wrong(R"([{"op": "implementation.seed", "args": {"seed": 1}, "expect": 3}])"),
            "steps[0]: expect needs \"error\" or \"value\"");
  const std::string expect_tensor =
      R"([{"op": "implementation.seed", "args": {"seed": 1}, "expect": {"value": {"w": {"$tensor": )";
  EXPECT_EQ(Wrong(expect_tensor + R"({"shape": [2], "dtype": "float32"}}}}}])"),
            "steps[0]: expect: w: a tensor without data");
  EXPECT_EQ(Wrong(expect_tensor + R"({"shape": [2], "dtype": "int8", "data": "AAA="}}}}}])"), "nothing");
}

TEST_F(ScriptTest, OptionsAreCheckedBesideReferences) {
  const auto wrap = [](const std::string& options) {
    return R"([{"let": "m", "op": "model.build", "args": {"model": "mlp"}}, {"let": "mesh", "op": "mesh.init", "args":
               {"shape": [2]}}, {"op": "model.wrap", "args": {"model": "$m", "path": "", "wrapper": "fsdp", "options": )" +
           options + "}}]";
  };
  EXPECT_EQ(Wrong(wrap(R"({"device_mesh": "$mesh", "use_orig_params": true})")), "nothing");
  EXPECT_EQ(Wrong(wrap(R"({"device_mesh": "$mesh", "use_orig_param": true})")),
            "steps[2]: model.wrap: unknown argument \"options.use_orig_param\"; the nearest known one is "
            "\"options.use_orig_params\"");
  EXPECT_EQ(Wrong(wrap(R"({"device_mesh": "$mesh", "use_orig_params": 1})")),
            "steps[2]: model.wrap: argument \"options.use_orig_params\": expected bool, got 1");
}

TEST_F(ScriptTest, RecordedOutcomesAreWhole) {
  const auto recorded = [](const std::string& outcomes) {
    return R"({"step": 0, "op": "implementation.seed", "args": {"seed": 1}, "ranks": "all", "outcomes": )" + outcomes +
           "}";
  };
  const std::string whole = recorded(R"([{"value": null}, {"error": {"kind": "ValueError", "message": ""}}])");
  EXPECT_EQ(Wrong("[" + whole + "]"), "nothing");
  EXPECT_EQ(Wrong("[" + whole + "]", 1), "not a recording of format 2: the ShardCTS that wrote it can read it");
  EXPECT_EQ(Wrong("[" + recorded(R"([{"value": null}])") + "]"), "steps[0]: outcomes needs one entry per rank");
  EXPECT_EQ(Wrong("[" + recorded(R"([{"value": null}, {}])") + "]"),
            "steps[0]: an outcome has neither \"value\" nor \"error\" with its kind");
  EXPECT_EQ(Wrong("[" + whole + R"(, {"op": "implementation.reset"}])"), "some steps have outcomes and some have none");
}

TEST_F(ScriptTest, BadFilesAreInputErrors) {
  EXPECT_THROW(Read(R"({"contract": 1, "steps": [)"), InputError);
  EXPECT_THROW(Read(R"({"contract": 99, "steps": [{"op": "implementation.reset"}]})"), InputError);
  EXPECT_THROW(Read(R"({"contract": 1, "truncated": true, "steps": [{"op": "implementation.reset"}]})"), InputError);
  EXPECT_THROW(Read(R"({"contract": 1, "world_size": -3, "steps": [{"op": "implementation.reset"}]})"), InputError);
  EXPECT_THROW(ReadScript(file_ + ".missing"), InputError);
}

TEST_F(ScriptTest, NamesReferencesAndPathsReachResults) {
  const Script script = Read(R"({"contract": 1, "steps": [
      {"let": "m", "op": "model.build", "args": {"model": "mlp"}},
      {"let": "sd", "op": "model.state_dict", "args": {"model": "$m"}},
      {"op": "tensor.clone", "args": {"value": "$sd.0.weight"}},
      {"op": "tensor.clone", "args": {"value": {"$ref": [1, "0.weight"]}}}]})");
  std::vector<double> seen;
  LoneRank rank([&](std::string_view operation, const Dict& arguments) -> Outcome {
    if (operation == "model.build") return Value(Handle{"model", 1});
    if (operation == "model.state_dict") return Value(Dict{{"0.weight", at::full({}, 7.0)}});
    if (operation == "tensor.clone") seen.push_back(arguments.At("value").AsTensor().item<double>());
    return operation == "tensor.clone" ? Outcome(arguments.At("value")) : Outcome(Value());
  });
  const ScriptResult result = RunScript(script, rank.session());
  EXPECT_TRUE(result.failures.empty()) << result.failures.front();
  EXPECT_EQ(seen, (std::vector<double>{7, 7}));
}

TEST_F(ScriptTest, APhaseIsAScriptWithTheFolderOfThem) {
  std::ofstream(file_) << R"({"contract": 1, "phases": [
      {"world": 2, "steps": [{"let": "m", "op": "model.build", "args": {"model": "${folder}"}}]},
      {"world": 1, "steps": [{"let": "m", "op": "model.build", "args": {"model": "${folder}/x"}}]}]})";
  const std::vector<Script> scripts = ReadScripts(ReadRecording(file_), file_);
  ASSERT_EQ(scripts.size(), 2u);
  EXPECT_EQ(scripts[0].world_size, 2);
  EXPECT_EQ(scripts[0].role, "save");
  EXPECT_EQ(scripts[1].role, "load");
  EXPECT_EQ(scripts[1].steps[0].place, file_ + ": phases[1].steps[0]");
  EXPECT_THROW(ReadScript(file_), InputError);
  std::string seen;
  LoneRank rank([&](std::string_view operation, const Dict& arguments) -> Outcome {
    if (operation == "model.build") seen = arguments.At("model").AsString();
    return Value(Handle{"model", 1});
  });
  EXPECT_TRUE(RunScript(scripts[1], rank.session(), "/f").failures.empty());
  EXPECT_EQ(seen, "/f/x");
}

TEST_F(ScriptTest, ExpectationsDecide) {
  const Script script = Read(R"({"contract": 1, "steps": [
      {"op": "implementation.seed", "args": {"seed": 1}, "expect": {"error": "RuntimeError"}},
      {"op": "implementation.seed", "args": {"seed": 1}, "expect": {"error": "ValueError"}},
      {"op": "implementation.seed", "args": {"seed": 1}}]})");
  LoneRank rank([](std::string_view, const Dict&) { return Outcome(Error{"ValueError", "bad seed"}); });
  const ScriptResult result = RunScript(script, rank.session());
  ASSERT_EQ(result.failures.size(), 2u);
  EXPECT_NE(result.failures[0].find("steps[0] implementation.seed: expected RuntimeError, actual ValueError: bad seed"),
            std::string::npos);
  EXPECT_NE(result.failures[1].find("steps[2] implementation.seed: ValueError: bad seed"), std::string::npos);
}

TEST_F(ScriptTest, APhaseInWhichRanksAreKilledIsNoScript) {
  std::ofstream(file_) << R"({"contract": 1, "phases": [{"world": 2, "steps": [{"op": "implementation.reset"}]},
      {"world": 2, "role": "crash", "steps": []}]})";
  try {
    ReadScripts(ReadRecording(file_), file_);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(error.what(), file_ + ": phases[1]: ranks are killed in it: run the test itself");
  }
}

}  // namespace
}  // namespace shardcts
