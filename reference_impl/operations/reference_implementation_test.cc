// The reference called through the contract's entry point, on ranks: arguments, values, handles, errors.
#include <gmock/gmock.h>

#include <set>

#include "contract/capability_tree.h"
#include "contract/operation_table.h"
#include "contract/tensor_bytes.h"
#include "fsdp/options.h"
#include "fsdp/state_dict_type.h"
#include "operations/testing/reference_on_ranks.h"
#include "parallel/parallelize.h"

namespace shardcts::reference {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(ReferenceTest, AnswersEveryOperationOfTheTable) {
  for (const OperationSpec& operation : Operations()) {
    const Outcome outcome = implementation_.Invoke(operation.name, Dict{{"no such argument", 1}});
    ASSERT_FALSE(outcome.ok()) << operation.name;
    EXPECT_EQ(outcome.error().kind, "TypeError") << operation.name << ": " << outcome.error().message;
  }
  EXPECT_THAT(ErrorOf("model.teleport"), HasSubstr("NotImplementedError"));
}

TEST_F(ReferenceTest, DescribesItselfWithCapabilitiesOfTheTable) {
  const Value described = Run("implementation.describe");
  EXPECT_EQ(described.AsDict().At("name").AsString(), "reference");
  const std::vector<std::string> declared = described.AsDict().At("capabilities").AsStrings();
  EXPECT_EQ(FindDeclarationProblem(declared, Capabilities()), std::nullopt);
  // "timings" are declared where they are asked for; the reference writes its files as they are, and itself.
  const std::set<std::string> lacking{"timings", "storage_streams", "storage_process"};
  for (const std::string& name : Capabilities()) {
    EXPECT_EQ(DeclaresCapability(declared, name), !lacking.contains(name)) << name;
  }
}

TEST_F(ReferenceTest, RefusesTheOptionsOfWhatItDoesNotDeclare) {
  const Dict save{{"path", "nowhere"}, {"state_dict", Value(Dict())}};
  for (const auto& [operation, option, value] :
       {std::tuple{"storage.save_async", "process", Value(true)}, {"storage.save", "stream", Value("zstd")}}) {
    Dict call = save;
    call.Set(option, value);
    EXPECT_THAT(ErrorOf(operation, call), HasSubstr(std::string("NotSupported: ") + option + ": storage_"));
  }
}

TEST_F(ReferenceTest, ShardedValuesSayWhatTheyAre) {
  const Value model = Build("linear", {{"in", 3}, {"out", 5}});
  FullyShard(model, "");
  const Value parameters = Run("model.parameters", {{"model", model}});
  const auto& parameter = parameters.AsDict().At("weight").AsDTensor();
  EXPECT_TRUE(parameter.is_parameter);
  EXPECT_TRUE(parameter.requires_grad);
  EXPECT_EQ(ToString(parameter.placements), "[S(0)]");
  EXPECT_THAT(parameter.shape, ElementsAre(5, 3));
  EXPECT_THAT(parameter.stride, ElementsAre(3, 1));
  const Dict saved = StateDictOf(model);
  const auto& entry = saved.At("weight").AsDTensor();
  EXPECT_FALSE(entry.is_parameter);
  EXPECT_FALSE(entry.requires_grad);
  EXPECT_EQ(entry.local.storage().data(), parameter.local.storage().data());
}

TEST_F(ReferenceTest, SaveChangeLoadThroughTheContract) {
  const Value model = Build("nested_mlp", {{"dim", 3}});
  const Value twin = Run("model.copy", {{"model", model}});
  FullyShard(model, "0");
  FullyShard(model, "");
  Dict given;
  for (const auto& [name, value] : StateDictOf(model)) {
    given.Set(name, Clone(value));
    Run("tensor.fill", {{"value", given.At(name)}, {"scalar", 42.0 + World().rank()}});
  }
  const Dict twin_values = StateDictOf(twin);
  for (const auto& [name, value] : StateDictOf(model)) {
    EXPECT_TRUE(at::equal(Run("tensor.full", {{"value", value}}).AsTensor(), twin_values.At(name).AsTensor()));
  }
  Run("model.load_state_dict", {{"model", model}, {"state_dict", given}});
  for (const auto& [name, value] : StateDictOf(model)) {
    const at::Tensor& local = value.AsDTensor().local;
    EXPECT_TRUE(at::equal(local, at::full_like(local, 42.0 + World().rank()))) << ToString(name);
  }
}

TEST_F(ReferenceTest, TrainsThroughTheContract) {
  const Value model = Build("mlp", {{"dim", 4}});
  FullyShard(model, "", {{"reshard_after_forward", true}});
  const Value optimizer = Run("optimizer.create", {{"model", model}, {"kind", "adam"}});
  const at::Tensor before = StateDictOf(model).At("out_proj.bias").AsDTensor().local.clone();
  const Value output = Run("model.forward", {{"model", model}, {"inputs", List{at::ones({2, 4})}}});
  Run("model.backward", {{"model", model}, {"output", output}, {"reduction", "mean"}});
  const Value gradients = Run("model.gradients", {{"model", model}});
  EXPECT_EQ(ToString(gradients.AsDict().At("in_proj.weight").AsDTensor().placements), "[S(0)]");
  Run("optimizer.step", {{"optimizer", optimizer}});
  Run("optimizer.zero_grad", {{"optimizer", optimizer}});
  const Value no_gradients = Run("model.gradients", {{"model", model}});
  EXPECT_TRUE(no_gradients.AsDict().At("in_proj.weight").IsNone());
  EXPECT_EQ(StateDictOf(model).At("out_proj.bias").AsDTensor().local.sizes(), before.sizes());
}

TEST_F(ReferenceTest, MeshesAreFoundAgainFromTheirTensors) {
  const Value mesh = Run("mesh.init", {{"shape", List{World().size() / 2, 2}}, {"dim_names", List{"dp", "tp"}}});
  const Value tp = Run("mesh.submesh", {{"mesh", mesh}, {"dim_names", List{"tp"}}});
  const Value whole = at::arange(6, at::kFloat).view({2, 3});
  const Value distributed = Run("tensor.distribute", {{"value", whole}, {"mesh", tp}, {"placements", List{"S(1)"}}});
  EXPECT_EQ(Run("tensor.mesh", {{"value", distributed}}).AsHandle(), tp.AsHandle());
  const Value replicated = Run("tensor.redistribute", {{"value", distributed}, {"placements", List{"R"}}});
  EXPECT_TRUE(at::equal(replicated.AsDTensor().local, whole.AsTensor()));
  const Value described = Run("mesh.describe", {{"mesh", tp}});
  EXPECT_THAT(described.AsDict().At("coordinate").AsInts(), ElementsAre(World().rank() % 2));
}

// FSDP on tensor parallelism: every placement that occurs in the suites, and the full values.
TEST_F(ReferenceTest, ParallelizedAndShardedStateDictsHoldThePlainValues) {
  const Value model = Build("mlp_sequence", {{"dim", 6}});
  const Value plain = Run("model.copy", {{"model", model}});
  const Value mesh = Run("mesh.init", {{"shape", List{World().size() / 2, 2}}, {"dim_names", List{"dp", "tp"}}});
  const Value dp = Run("mesh.submesh", {{"mesh", mesh}, {"dim_names", List{"dp"}}});
  const Value tp = Run("mesh.submesh", {{"mesh", mesh}, {"dim_names", List{"tp"}}});
  Dict plan;
  for (const char* index : {"0", "1", "2"}) {
    plan.Set(std::string(index) + ".in_proj", Dict{{"style", "colwise"}});
    plan.Set(std::string(index) + ".out_proj", Dict{{"style", "rowwise"}});
  }
  Run("model.parallelize", {{"model", model}, {"mesh", tp}, {"plan", plan}});
  for (const char* path : {"0", "1", "2", ""}) FullyShard(model, path, {{"mesh", dp}});
  const Dict saved = StateDictOf(model);
  EXPECT_EQ(ToString(saved.At("0.in_proj.weight").AsDTensor().placements), "[_S(0,2), S(0)]");
  EXPECT_EQ(ToString(saved.At("0.out_proj.weight").AsDTensor().placements), "[S(0), S(1)]");
  EXPECT_EQ(ToString(saved.At("0.out_proj.bias").AsDTensor().placements), "[S(0), R]");
  const Dict expected = StateDictOf(plain);
  EXPECT_EQ(saved.Keys(), expected.Keys());
  for (const auto& [name, value] : saved) {
    const Value full = Run("tensor.full", {{"value", value}});
    EXPECT_TRUE(at::equal(full.AsTensor(), expected.At(name).AsTensor())) << ToString(name);
  }
}

TEST_F(ReferenceTest, ParallelizedAndShardedTrainsLikeThePlainModel) {
  const Value model = Build("mlp_sequence", {{"dim", 6}});
  const Value plain = Run("model.copy", {{"model", model}});
  const Value mesh = Run("mesh.init", {{"shape", List{World().size() / 2, 2}}, {"dim_names", List{"dp", "tp"}}});
  const Value dp = Run("mesh.submesh", {{"mesh", mesh}, {"dim_names", List{"dp"}}});
  const Value tp = Run("mesh.submesh", {{"mesh", mesh}, {"dim_names", List{"tp"}}});
  Run("model.parallelize", {{"model", model}, {"mesh", tp},
                            {"plan", Dict{{"1.in_proj", Dict{{"style", "colwise"}}},
                                          {"1.out_proj", Dict{{"style", "rowwise"}}}}}});
  for (const char* path : {"0", "1", "2", ""}) FullyShard(model, path, {{"mesh", dp}});
  for (const Value& trained : {model, plain}) {
    const Value optimizer =
        Run("optimizer.create", {{"model", trained}, {"kind", "sgd"}, {"options", Dict{{"lr", 0.1}}}});
    for (int step = 0; step < 2; ++step) {
      const Value input = at::linspace(-1, 1, 12).view({2, 6});
      const Value output = Run("model.forward", {{"model", trained}, {"inputs", List{input}}});
      Run("model.backward", {{"model", trained}, {"output", output}});
      Run("optimizer.step", {{"optimizer", optimizer}});
      Run("optimizer.zero_grad", {{"optimizer", optimizer}});
    }
  }
  const Dict expected = StateDictOf(plain);
  for (const auto& [name, value] : StateDictOf(model)) {
    const Value full = value.TryAs<Tensor>() ? value : Run("tensor.full", {{"value", value}});
    EXPECT_TRUE(at::allclose(full.AsTensor(), expected.At(name).AsTensor(), 1e-5, 1e-6)) << ToString(name);
  }
}

TEST_F(ReferenceTest, LoadingIntoMetaWarns) {
  const Value model = Build("linear", {{"in", 2}, {"out", 2}}, "meta");
  const Value source = Build("linear", {{"in", 2}, {"out", 2}});
  Run("model.load_state_dict", {{"model", model}, {"state_dict", StateDictOf(source)}});
  ASSERT_EQ(warnings_.size(), 2u);
  EXPECT_EQ(warnings_[0].category, "UserWarning");
}

TEST_F(ReferenceTest, ErrorsHaveTheKindsOfPython) {
  const Value model = Build("linear", {{"in", 2}, {"out", 2}});
  EXPECT_THAT(ErrorOf("model.build", {{"model", "mlp"}, {"args", Dict{}}}), HasSubstr("ValueError: model 'mlp'"));
  EXPECT_THAT(ErrorOf("model.load_state_dict", {{"model", model}, {"state_dict", Dict{{"bad", 1}}}}),
              HasSubstr("RuntimeError: Error(s) in loading state_dict for Linear:"));
  EXPECT_THAT(ErrorOf("model.wrap", {{"model", model}, {"path", "9"}, {"wrapper", "fully_shard"}}),
              HasSubstr("AttributeError: Linear has no attribute `9`"));
  EXPECT_THAT(ErrorOf("model.forward", {{"model", model}, {"inputs", List{at::ones({2, 3})}}}),
              HasSubstr("RuntimeError: mat1 and mat2 shapes cannot be multiplied"));
  EXPECT_THAT(ErrorOf("model.set_local", {{"model", model}, {"values", Dict{{"x", at::ones({1})}}}}),
              HasSubstr("KeyError: 'x'"));
  EXPECT_THAT(ErrorOf("optimizer.create", {{"model", model}, {"kind", "lion"}}),
              HasSubstr("TypeError: optimizer.create: argument \"kind\": unknown value \"lion\""));
  EXPECT_THAT(ErrorOf("mesh.init", {{"shape", List{3, 3}}}), HasSubstr("RuntimeError"));
}

// The values that the table allows, of the fields with this name in any record.
std::set<std::string> AllowedValues(std::string_view field) {
  std::set<std::string> values;
  for (const char* name : {"fsdp_options", "mixed_precision", "mp_policy", "parallel_style", "full_config", "local_config",
                           "sharded_config", "full_optim_config", "local_optim_config", "sharded_optim_config"}) {
    for (const FieldSpec& spec : RecordNamed(name).fields) {
      if (spec.name == field) values.insert(spec.values.begin(), spec.values.end());
    }
  }
  return values;
}

TEST(AllowedValues, AreAllKnownToTheReference) {
  EXPECT_EQ(AllowedValues("sharding_strategy").size(), 5u);
  for (const std::string& text : AllowedValues("sharding_strategy")) EXPECT_TRUE(ParseShardingStrategy(text)) << text;
  EXPECT_EQ(AllowedValues("param_dtype").size(), 4u);
  for (const std::string& text : AllowedValues("param_dtype")) EXPECT_TRUE(ParseDtype(text)) << text;
  EXPECT_EQ(AllowedValues("class").size(), 6u);
  for (const std::string& text : AllowedValues("class")) EXPECT_NO_THROW(DefaultStateDictConfig(text)) << text;
  EXPECT_EQ(AllowedValues("style").size(), 3u);
  for (const std::string& text : AllowedValues("style")) EXPECT_NO_THROW(ParseParallelStyle(text)) << text;
}

TEST_F(ReferenceTest, AfterAResetHandlesAreGone) {
  const Value model = Build("linear", {{"in", 2}, {"out", 2}});
  Run("implementation.reset");
  EXPECT_THAT(ErrorOf("model.state_dict", {{"model", model}}), HasSubstr("ValueError: no model has the handle"));
}

}  // namespace
}  // namespace shardcts::reference
