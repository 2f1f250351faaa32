// Values, errors and warnings between C++ and Python, through the door that every implementation takes.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "adapters/loader.h"
#include "contract/compare.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

ImplementationContext Context() {
  ImplementationContext context;
  context.run_folder = ::testing::TempDir();
  context.options = {{"color", "blue"}};
  return context;
}

std::unique_ptr<LoadedImplementation> bridge;

// One bridge for all tests, gone before the process exits.
class BridgeEnvironment : public ::testing::Environment {
 public:
  void SetUp() override { bridge = LoadImplementation("python:bridge_adapter:BridgeAdapter", Context()); }
  void TearDown() override { bridge.reset(); }
};
const auto* const environment = ::testing::AddGlobalTestEnvironment(new BridgeEnvironment);

Implementation& Bridge() { return *bridge; }

Value Call(std::string_view operation, const Dict& arguments = {}) {
  const Outcome outcome = Bridge().Invoke(operation, arguments);
  EXPECT_TRUE(outcome.ok()) << outcome.error().kind << ": " << outcome.error().message;
  return outcome.ok() ? outcome.value() : Value();
}

std::string ExplainRoundTrip(const Value& value) {
  return Compare(value, Call("test.echo", {{"value", value}}),
                 {.requires_grad = true, .device = true, .handles = true}).Explain();
}

int64_t Pointer(const at::Tensor& tensor) { return reinterpret_cast<int64_t>(tensor.data_ptr()); }

std::string LoadError(const std::string& source) {
  try {
    LoadImplementation(source, Context());
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(PythonBridgeTest, AdapterGetsItsPlaceAndOptions) {
  const Dict place = Call("test.place").AsDict();
  EXPECT_EQ(place.At("world_size").AsInt(), 1);
  EXPECT_EQ(place.At("device").AsString(), "cpu");
  const Dict& options = place.At("options").AsDict();
  EXPECT_EQ(options.At("color").AsString(), "blue");
  EXPECT_THAT(options.At("store").AsString(), StartsWith(::testing::TempDir()));
  EXPECT_FALSE(options.Contains("python_module"));
}

TEST(PythonBridgeTest, PlainValuesComeBackAsTheyWere) {
  const Value value = Dict{{"none", Value()},
                           {"bool", true},
                           {"int", std::numeric_limits<int64_t>::min()},
                           {"double", 0.1},
                           {"text", "grün \xf0\x9f\x99\x82 \xff"},
                           {"bytes", Bytes{std::string("\0\xff", 2)}},
                           {"list", List{1, 2.0, "3", List{}}},
                           {int64_t{7}, Dict{{int64_t{-1}, false}}},
                           {"handle", Handle{"model", 3}}};
  EXPECT_EQ(ExplainRoundTrip(value), "");
  EXPECT_EQ(Call("test.echo", {{"value", 1.0}}).type(), Value::Type::kDouble);
  EXPECT_EQ(Call("test.echo", {{"value", true}}).type(), Value::Type::kBool);
}

TEST(PythonBridgeTest, NotFiniteDoublesComeBack) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(ExplainRoundTrip(List{nan, std::numeric_limits<double>::infinity(), -0.0}), "");
}

TEST(PythonBridgeTest, TensorsAreSharedNotCopied) {
  const at::Tensor nans = at::full({2}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
  for (const at::Tensor& tensor : {at::arange(6, at::kFloat).reshape({2, 3}), at::full({}, 3, at::kBFloat16),
                                   at::empty({0, 4}), nans, at::ones({4, 4}).t(), at::ones(3, at::kBool)}) {
    EXPECT_EQ(ExplainRoundTrip(tensor), "");
    EXPECT_EQ(Call("test.look", {{"value", tensor}}).AsDict().At("pointer").AsInt(), Pointer(tensor));
    EXPECT_EQ(Pointer(Call("test.echo", {{"value", tensor}}).AsTensor()), Pointer(tensor));
  }
}

TEST(PythonBridgeTest, SameTensorIsTheSameObject) {
  const at::Tensor tensor = at::ones(2);
  Call("test.keep", {{"value", tensor}});
  EXPECT_TRUE(Call("test.is_kept", {{"value", tensor}}).AsBool());
  EXPECT_FALSE(Call("test.is_kept", {{"value", tensor.alias()}}).AsBool());
}

TEST(PythonBridgeTest, ParametersAndTheirGraphSurvive) {
  const Dict made = Call("test.parameter").AsDict();
  EXPECT_TRUE(made.At("parameter").TryAs<Tensor>()->is_parameter);
  EXPECT_FALSE(made.At("result").TryAs<Tensor>()->is_parameter);
  EXPECT_EQ(made.At("pair").AsInts(), (std::vector<int64_t>{1, 2}));
  EXPECT_NE(made.At("result").AsTensor().grad_fn(), nullptr);
  const Value gradient = Call("test.gradient", {{"result", made.At("result")}});
  EXPECT_TRUE(at::equal(gradient.AsTensor(), at::full({2}, 3.0F)));
  EXPECT_TRUE(at::equal(made.At("parameter").AsTensor().grad(), at::full({2}, 3.0F)));
}

TEST(PythonBridgeTest, ParameterMadeHereIsAParameterThere) {
  const Value value = Tensor{at::ones(2).set_requires_grad(true), true};
  EXPECT_TRUE(Call("test.look", {{"value", value}}).AsDict().At("parameter").AsBool());
  EXPECT_EQ(ExplainRoundTrip(value), "");
}

TEST(PythonBridgeTest, DTensorSharesItsLocalPart) {
  const DTensor dtensor{.local = at::ones({2, 3}),
                        .mesh = {"cpu", {2, 1}, {"dp", "tp"}, {0, 1}},
                        .placements = {Placement::StridedShard(0, 2), Placement::Partial("avg")},
                        .shape = {4, 3},
                        .stride = {3, 1},
                        .requires_grad = true,
                        .is_parameter = true};
  EXPECT_EQ(ExplainRoundTrip(dtensor), "");
  EXPECT_EQ(Call("test.look", {{"value", dtensor}}).AsDict().At("pointer").AsInt(), Pointer(dtensor.local));
}

TEST(PythonBridgeTest, ShardedTensorSharesItsShards) {
  const ShardMetadata here{{0, 0}, {2, 2}, 0, "cpu"};
  const ShardMetadata there{{2, 0}, {1, 2}, 1, "cpu"};
  const ShardedTensor sharded{{3, 2}, {here, there}, {{here, at::ones({2, 2})}}};
  EXPECT_EQ(ExplainRoundTrip(sharded), "");
  EXPECT_THAT(Call("test.shard_pointers", {{"value", sharded}}).AsInts(),
              ElementsAre(Pointer(sharded.local_shards[0].tensor)));
}

TEST(PythonBridgeTest, ExceptionsBecomeErrors) {
  EXPECT_EQ(Bridge().Invoke("test.fail", {{"kind", "ValueError"}}).error(),
            (Error{"ValueError", "first line\nsecond line"}));
  EXPECT_EQ(Bridge().Invoke("test.fail", {{"kind", "SystemExit"}}).error().kind, "SystemExit");
  EXPECT_EQ(Bridge().Invoke("test.fail", {}).error().kind, "TypeError");
  EXPECT_EQ(Bridge().Invoke("test.nowhere", {}).error(),
            (Error{"NotImplementedError", "BridgeAdapter has no operation test.nowhere"}));
}

// As gloo writes when a peer has died.
TEST(PythonBridgeTest, WriteToAPeerThatIsGoneIsAnErrorAsInPython) {
  EXPECT_EQ(Bridge().Invoke("test.write_to_nobody", {}).error().kind, "BrokenPipeError");
}

TEST(PythonBridgeTest, WarningsAreKeptInOrderEachTime) {
  for (int time = 0; time < 2; ++time) {
    const Warning one{"UserWarning", "one"};
    EXPECT_THAT(Bridge().Invoke("test.warn", {}).warnings, ElementsAre(one, Warning{"FutureWarning", "two"}, one));
  }
}

TEST(PythonBridgeTest, WhatNoValueCanHoldIsAnErrorThatSaysWhere) {
  const auto error_of = [](const char* kind) { return Bridge().Invoke("test.strange", {{"kind", kind}}).error(); };
  EXPECT_EQ(error_of("set"), (Error{"ContractViolation", "result of test.strange['a'][1]: no value can hold a set"}));
  EXPECT_EQ(error_of("key"),
            (Error{"ContractViolation", "result of test.strange: a dict key must be str or int, not float"}));
  EXPECT_EQ(error_of("huge"), (Error{"ContractViolation", "result of test.strange[0]: an int of more than 64 bits"}));
}

TEST(PythonBridgeTest, DescribeIsDerivedFromTheClass) {
  const Dict described = Call("implementation.describe").AsDict();
  EXPECT_EQ(described.At("name").AsString(), "BridgeAdapter");
  EXPECT_THAT(described.At("capabilities").AsStrings(), ElementsAre("core"));
  EXPECT_THAT(described.At("devices").AsStrings(), ElementsAre("cpu"));
  EXPECT_THAT(described.At("notes").AsDict().At("operations").AsString(), HasSubstr("test.echo, "));
}

TEST(PythonBridgeTest, LoadErrorsAreOneLine) {
  EXPECT_EQ(LoadError("python:no_such_module:Adapter"),
            "python:no_such_module:Adapter: module 'no_such_module' cannot be imported: "
            "ModuleNotFoundError: No module named 'no_such_module'");
  EXPECT_THAT(LoadError("python:failing_module:Adapter"),
              EndsWith("cannot be imported: OSError: libvendor.so is missing"));
  EXPECT_THAT(LoadError("python:bridge_adapter:Missing"), EndsWith("bridge_adapter.py) has no class 'Missing'"));
  EXPECT_THAT(LoadError("python:bridge_adapter:not_a_class"), EndsWith("has no class 'not_a_class'"));
  EXPECT_THAT(LoadError("python:bridge_adapter:FailingConstructor"),
              EndsWith(": constructor of 'FailingConstructor' raised KeyError: 'no\\nlicence'"));
}

TEST(PythonBridgeTest, ExampleOfTheDocumentationWorks) {
  auto example = LoadImplementation("python:minimal_adapter:MinimalAdapter", Context());
  EXPECT_TRUE(example->Invoke("implementation.seed", {{"seed", 1}}).ok());
  const Outcome model = example->Invoke("model.build", {{"model", "linear"}, {"args", Dict{{"in", 2}, {"out", 3}}}});
  ASSERT_TRUE(model.ok());
  const Outcome state = example->Invoke("model.state_dict", {{"model", model.value()}});
  EXPECT_THAT(state.value().AsDict().Keys(), ElementsAre("weight", "bias"));
}

}  // namespace
}  // namespace shardcts
