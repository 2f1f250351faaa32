// What wrapping refuses, and what a wrapped model is.
#include <ATen/ATen.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "contract/fsdp.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/forms.h"
#include "suites/extended/refusals.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

// A module with these parameters of its own.
ModelSpec OwnParameters(const Dict& parameters, const Dict& args = {}) { return TreeSpec(BareNode(parameters), args); }

// One layer under two names.
ModelSpec SharedLayer() {
  const Dict children{{"first", LinearNode(4)}, {"again", Dict{{"kind", "shared"}, {"path", "first"}}}};
  return TreeSpec({{"kind", "sequential"}, {"children", children}});
}

// What one flat parameter cannot hold.
ModelSpec MixedParameters(const std::string& mixed) {
  const Dict floats = TensorNode({3, 2});
  if (mixed == "integers") return OwnParameters({{"a", TensorNode({3, 2}, "int64")}, {"b", TensorNode({4}, "int64")}});
  if (mixed == "dtypes") return OwnParameters({{"a", floats}, {"b", TensorNode({4}, "float64")}});
  return OwnParameters({{"a", floats}, {"b", TensorNode({4})}}, {{"frozen", List{"b"}}});
}

// The names of the parameters that a rank has whole.
std::vector<std::string> WholeParameters(const Model& model) {
  std::vector<std::string> whole;
  for (const auto& [name, value] : model.Parameters()) {
    if (value.TryAs<Tensor>()) whole.push_back(ToString(name));
  }
  return whole;
}

Value Ones(const Trial& t, int64_t width, at::ScalarType dtype = at::kFloat) {
  return at::ones({2, width}, dtype).to(c10::Device(t.device()));
}

// As JSON; sorted.
std::string UnitPaths(const Model& model) {
  std::vector<std::string> paths;
  for (const Value& unit : FsdpUnits(model)) paths.push_back(fmt::format("\"{}\"", unit.AsDict().At("path").AsString()));
  std::ranges::sort(paths);
  return fmt::format("[{}]", fmt::join(paths, ", "));
}

constexpr const char* kBFloat16 = "bfloat16";

// Evaluates the rule: after a forward of a TrainedStack its weights are whole, or parts. *Collective*.
void AreWholeAfterForward(Trial& t, Model& model, bool expected) {
  model.Forward({Ones(t, 3)});
  const Dict parameters = model.Parameters();
  for (const auto& [name, value] : Twin(TrainedStack()).Parameters()) {
    const at::Tensor whole = value.AsTensor(), held = parameters.At(name).AsTensor();
    if (whole.dim() < 2) continue;  // a part has one dimension
    t.Rule(Equal(ToString(name) + ": whether it is whole", expected, held.sizes() == whole.sizes()));
  }
}

}  // namespace

RULE(WR1) {
  const std::string wrapper = t.TextParam("wrapper"), mixed = t.TextParam("mixed");
  const ModelSpec spec = MixedParameters(mixed);
  Model model = BuildCoded(t, spec);
  const bool may_mix = wrapper == "fsdp_orig" && mixed == "frozen";
  if (!may_mix) {
    Refused(t, "parameters that differ", {"ValueError"}, [&] { Wrap(t, model, spec, wrapper); });
    return;
  }
  Wrap(t, model, spec, wrapper);
  HasState(t, "the wrapped model", Twin(spec).StateDict(), model, "full");
}

RULE(WR2) {
  Model model = t.subject().Build("linear", {{"in", 3}, {"out", 4}, {"bias", false}}, t.device());
  const at::Tensor turned = Coded({3, 4}, 1).t().to(c10::Device(t.device()));
  model.LoadStateDict({{"weight", turned}}, {.assign = true});
  Refused(t, "a parameter whose rows are not one after the other", {"NotImplementedError"},
          [&] { model.FullyShard(""); });
}

RULE(WR3) {
  ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", List{LinearNode(4), LinearNode(4)}}},
                            {{"ties", List{List{"0.weight", "1.weight"}}}}, {"0", "1"});
  Model model = BuildCoded(t, spec);
  Wrap(t, model, spec, "fully_shard");
  Refused(t, "the first forward", {"ValueError"}, [&] { model.Forward({Ones(t, 4)}); });
}

RULE(WR4) {
  const ModelSpec spec = TrainedStack();
  Model model = BuildTrained(t, {.name = spec.name, .args = spec.args}, "plain");
  model.FullyShard("0");
  model.Forward({Ones(t, 3)});
  model.FullyShard("");
  Refused(t, "a forward of a root that was wrapped after a unit had run", {"RuntimeError"},
          [&] { model.Forward({Ones(t, 3)}); });
}

RULE(WR5) {
  const std::string option = t.TextParam("reshard_after_forward");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  FullyShardOptions options;
  if (option != "absent") options.reshard_after_forward = option == "true";
  for (const char* path : {"0", "1", ""}) model.FullyShard(path, options);
  t.Rule(SameNames("whole before the forward", {}, WholeParameters(model)));
  const Value output = model.Forward({Ones(t, 3)});
  std::vector<std::string> expected;
  if (option == "absent") expected = {"2.weight", "2.bias"};
  if (option == "false") expected = Twin(TrainedStack()).Parameters().Keys();
  t.Rule(SameNames("whole after the forward", expected, WholeParameters(model)));
  model.Backward(output);
  t.Rule(SameNames("whole after the backward", {}, WholeParameters(model)));
}

RULE(WR6) {
  const std::string wrapper = t.TextParam("wrapper");
  const ModelSpec spec = TreeSpec({{"kind", "sequential"},
                                   {"children", List{LinearNode(4), Dict{{"kind", "batch_norm"}}}}});
  Model model = BuildWrapped(t, spec, wrapper);
  model.Backward(model.Forward({Value(BatchInput(0, 4, PartOf(t, wrapper)).to(c10::Device(t.device())))}));
  const Dict gradients = t.subject().Clone(model.Gradients()).AsDict();
  const Dict buffers = t.subject().Clone(model.Buffers()).AsDict();
  model.Cast("float64");
  const auto is_cast = [&](const std::string& what, const Dict& before, const Dict& after) {
    if (!t.Rule(SameNames(what, before.Keys(), after.Keys()))) return;
    for (const auto& [name, value] : before) {
      if (!t.Rule(Holds(!after.At(name).IsNone(), what + ": " + ToString(name), "is lost"))) continue;
      const at::Tensor local = LocalPart(value);
      const at::ScalarType dtype = local.is_floating_point() ? at::kDouble : local.scalar_type();
      t.Rule(SameValue(what + ": " + ToString(name), local.to(dtype), LocalPart(after.At(name))));
    }
  };
  is_cast("gradients", gradients, model.Gradients());
  is_cast("buffers", buffers, model.Buffers());
}

RULE(WR7) {
  const std::string flags = t.TextParam("casts");
  FsdpMixedPrecision precision{.param_dtype = kBFloat16};
  if (flags != "default") precision.cast_root_forward_inputs = false;
  if (flags == "units") precision.cast_forward_inputs = true;
  Model model = BuildTrained(t, TrainedStack(), "plain");
  for (const char* path : {"0", "1", ""}) WrapFsdp(model, path, {.mixed_precision = precision});
  if (flags == "none") {
    Refused(t, "a float32 input that nothing casts", {"RuntimeError"}, [&] { model.Forward({Ones(t, 3)}); });
  }
  const Value output = model.Forward({Ones(t, 3, flags == "none" ? at::kBFloat16 : at::kFloat)});
  t.Rule(Equal("dtype of the output", std::string("BFloat16"), std::string(c10::toString(output.AsTensor().scalar_type()))));
}

RULE(WR8) {
  const ModelSpec spec = OwnParameters({{"weight", TensorNode({3, 2})}, {"ids", TensorNode({4}, "int64")}});
  Model model = BuildCoded(t, spec);
  model.FullyShard("", {.mp_policy = MixedPrecisionPolicy{.param_dtype = kBFloat16}});
  model.Forward({Ones(t, 4)});
  const Dict whole = model.Parameters();  // the root stays whole after a forward
  const Dict expected = Twin(spec).Parameters();
  t.Rule(SameValue("ids", expected.At("ids"), LocalPart(whole.At("ids"))));
  t.Rule(SameValue("weight", expected.At("weight").AsTensor().to(at::kBFloat16), LocalPart(whole.At("weight")).detach()));
}

RULE(WR9) {
  const std::string over = t.TextParam("over");
  const Mesh mesh = t.subject().InitMesh({2, t.world_size() / 2}, {"dp", "tp"});
  const Mesh other = t.subject().InitMesh({t.world_size()}, {"other"});
  Model model = BuildCoded(t, TreeSpec({{"kind", "sequential"}, {"children", List{LinearNode(4)}}}));
  model.Parallelize(mesh.Submesh({"tp"}), {{"0", "colwise"}});
  const FullyShardOptions options{.mesh = over == "the same dimension" ? mesh.Submesh({"tp"}) : other};
  Refused(t, "fully_shard over " + over, {"RuntimeError", "AssertionError", "ValueError", "TypeError"},
          [&] { model.FullyShard("", options); });
}

RULE(WR10) {
  Model model = BuildCoded(t, SharedLayer());
  model.Parallelize(t.subject().InitMesh({t.world_size()}, {"tp"}), {{"first", "colwise"}});
  const Dict parameters = model.Parameters(/*remove_duplicate=*/false);
  for (const char* name : {"weight", "bias"}) {
    const std::string first = fmt::format("first.{}", name), again = fmt::format("again.{}", name);
    if (!t.Rule(Holds(parameters.Contains(again), again, "is no parameter"))) continue;
    t.Rule(SameValue(again, parameters.At(first), parameters.At(again)));
    t.Rule(Equal(again + ": where it is", DataPointer(parameters.At(first)), DataPointer(parameters.At(again))));
  }
}

RULE(WR11) {
  Model model = BuildTrained(t, TrainedStack(), "plain");
  WrapFsdp(model, "0");
  SetStateDictType(model, StateDictKind::kSharded);
  WrapFsdp(model, "");
  Refused(t, "a question for one type of units that have two", {"AssertionError"}, [&] { GetStateDictType(model); });
  Refused(t, "a change of types of which one was set before", {"AssertionError"},
          [&] { SetStateDictType(model, StateDictKind::kLocal); });
}

RULE(WR12) {
  const std::string strategy = t.TextParam("strategy");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  for (const char* path : {"0", ""}) WrapFsdp(model, path, {.sharding_strategy = strategy});
  for (const Value& unit : FsdpUnits(model)) {
    const Dict& own = unit.AsDict();
    t.Rule(Equal("strategy of unit \"" + own.At("path").AsString() + "\"", std::string("NO_SHARD"),
                 own.At("sharding_strategy").AsString()));
  }
}

RULE(WR13) {
  const Dict norm{{"kind", "batch_norm"}};
  Model model = BuildCoded(t, TreeSpec({{"kind", "sequential"}, {"children", List{LinearNode(4), norm, LinearNode(2)}}}));
  WrapFsdp(model, "", {.mixed_precision = FsdpMixedPrecision{.param_dtype = kBFloat16, .buffer_dtype = kBFloat16},
                       .auto_wrap_policy = AutoWrapPolicy::Classes({"Linear"})});
  t.Rule(Equal("units", std::string("[\"\", \"0\", \"1\", \"2\"]"), UnitPaths(model)));
  model.Forward({Ones(t, 4)});
  for (const auto& [name, buffer] : model.Buffers()) {
    const at::ScalarType dtype = ToString(name) == "1.num_batches_tracked" ? at::kLong : at::kFloat;
    t.Rule(Equal(ToString(name) + ": dtype", std::string(c10::toString(dtype)),
                 std::string(c10::toString(buffer.AsTensor().scalar_type()))));
  }
}

RULE(WR14) {
  const FsdpOptions all{.auto_wrap_policy = AutoWrapPolicy::Always()};
  Model model = BuildCoded(t, SharedLayer());
  WrapFsdp(model, "", all);
  t.Rule(Equal("units", std::string("[\"\", \"first\"]"), UnitPaths(model)));
  Model other = BuildTrained(t, TrainedStack(), "plain");
  WrapFsdp(other, "0");
  Refused(t, "a policy for what has a unit already", {"ValueError"}, [&] { WrapFsdp(other, "", all); });
}

RULE(WR15) {
  const bool keeps = t.BoolParam("keep_low_precision_grads");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  FsdpMixedPrecision precision{.param_dtype = kBFloat16};
  if (keeps) precision.keep_low_precision_grads = true;
  WrapFsdp(model, "", {.mixed_precision = precision});
  model.Backward(model.Forward({Ones(t, 3)}));
  const std::string expected = c10::toString(keeps ? at::kBFloat16 : at::kFloat);
  for (const auto& [name, gradient] : model.Gradients()) {
    t.Rule(Equal(ToString(name) + ": dtype", expected, std::string(c10::toString(LocalPart(gradient).scalar_type()))));
  }
}

RULE(WR16) {
  const std::string strategy = t.TextParam("strategy");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  for (const char* path : {"0", "1", ""}) {
    WrapFsdp(model, path, {.sharding_strategy = strategy, .use_orig_params = true});
  }
  AreWholeAfterForward(t, model, strategy == "SHARD_GRAD_OP");
}

RULE(WR17) {
  const Mesh mesh = t.subject().InitMesh({t.world_size() / 2, 2}, {"dp", "tp"});
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", List{LinearNode(6)}}});
  Model model = BuildCoded(t, spec);
  model.Parallelize(mesh.Submesh({"tp"}), {{"0", "colwise"}});
  model.FullyShard("", {.mesh = mesh.Submesh({"dp"}), .shard_placement = "largest_dim"});
  const DTensor weight = model.Parameters().At("0.weight").AsDTensor();
  t.Rule(Equal<int64_t>("the dimension that fully_shard cuts", 0, weight.placements.front().dim));
  HasState(t, "the wrapped model", Twin(spec).StateDict(), model, "dsd_full");
}

RULE(WR18) {
  const std::string frozen = "0.weight";
  Model model = BuildTrained(t, TrainedStack(), "plain"), untouched = BuildTrained(t, TrainedStack(), "plain");
  model.SetRequiresGrad({frozen}, false);
  FsdpOptions options;
  options.skip_modules = {"1"};
  const std::vector<std::string> kinds = {"ValueError"};
  if (!Refused(t, "a frozen parameter among trained ones", kinds, [&] { WrapFsdp(model, "", options); })) return;
  t.Rule(SameValue("state after the refused wrapper", untouched.StateDict(), model.StateDict()));
  t.Rule(SameValue("output after the refused wrapper", untouched.Forward({Ones(t, 3)}), model.Forward({Ones(t, 3)})));
}

RULE(WR19) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  model.Fill(t.rank());
  model.SetRequiresGrad({"1.bias"}, false);
  if (wrapper == "ddp") {
    WrapDdp(model);
  } else {
    FsdpOptions options = FsdpOptionsOf(t, "fsdp_orig");
    options.sync_module_states = true;
    if (wrapper == "fsdp_hybrid") {
      options.sharding_strategy = "HYBRID_SHARD";
      options.device_mesh = t.subject().InitMesh({t.world_size(), 1}, {"replicate", "shard"});
    }
    WrapFsdp(model, "", options);
  }
  for (const auto& [name, value] : GetState(model, wrapper == "ddp" ? "native" : "full")) {
    t.Rule(AllElementsAre(ToString(name), 0, value));
  }
}

// Layers of 25, 30, 18 and 16 elements in "m.a", of 15 in "m", of 12 in the root.
RULE(WR20) {
  const auto sequential = [](const Dict& children) { return Dict{{"kind", "sequential"}, {"children", children}}; };
  const Dict a = sequential({{"x", LinearNode(5)}, {"y", LinearNode(5)}, {"z", LinearNode(3)}, {"v", LinearNode(4)}});
  const Dict m = sequential({{"a", a}, {"last", LinearNode(3)}});
  Model model = BuildCoded(t, TreeSpec(sequential({{"m", m}, {"end", LinearNode(3)}}), {{"in", 4}}));
  WrapFsdp(model, "", {.auto_wrap_policy = AutoWrapPolicy::SizeBased(20)});
  t.Rule(Equal("units", std::string("[\"\", \"m.a\", \"m.a.x\", \"m.a.y\"]"), UnitPaths(model)));
}

RULE(WR22) {
  const std::string form = t.TextParam("form");
  Model model = BuildCoded(t, SharedLayer()), plain = BuildCoded(t, SharedLayer());
  FsdpOptions options = FsdpOptionsOf(t, t.TextParam("wrapper"));
  options.auto_wrap_policy = AutoWrapPolicy::Always();
  WrapFsdp(model, "", options);
  const Value input = Ones(t, 4);
  t.Rule(SameValue("output", plain.Forward({input}), model.Forward({input})));
  const Dict expected = plain.StateDict(), state = t.subject().Clone(GetState(model, form)).AsDict();
  SameState(t, "the saved state", expected, state);
  model.Fill(-1);
  SetState(model, form, state);
  SameState(t, "the loaded state", expected, GetState(model, form));
}

RULE(WR23) {
  const Dict three = TensorNode({3}), five = TensorNode({5});
  Model model = BuildCoded(t, OwnParameters({{"three", three}, {"five", five}}));
  FsdpOptions options = FsdpOptionsOf(t, "fsdp_orig");
  const std::string dtype = t.TextParam("param_dtype");
  if (dtype != "none") options.mixed_precision = FsdpMixedPrecision{.param_dtype = dtype};
  WrapFsdp(model, "", options);
  // The second parameter begins at 16 bytes of the dtype that is computed in.
  const int64_t second = dtype == "none" ? 4 : 8, world = t.world_size();
  const Dict flat = FsdpUnits(model).at(0).AsDict().At("flat_parameter").AsDict();
  t.Rule(Equal("elements on a rank", (second + 5 + world - 1) / world, flat.At("local_numel").AsInt()));
}

RULE(WR24) {
  const std::string strategy = t.TextParam("strategy");
  Model model = BuildTrained(t, TrainedStack(), "plain");
  FsdpOptions options = FsdpOptionsOf(t, "fsdp_orig");
  options.sharding_strategy = strategy;
  options.device_mesh = t.subject().InitMesh({2, t.world_size() / 2}, {"replicate", "shard"});
  for (const char* path : {"0", "1", ""}) WrapFsdp(model, path, options);
  AreWholeAfterForward(t, model, strategy == "_HYBRID_SHARD_ZERO2");
}

RULE(WR25) {
  const bool trained = t.BoolParam("trained");
  const Dict other = TensorNode({4}, "bfloat16", {{"unused", true}});
  const ModelSpec spec = TreeSpec(LinearNode(4, {{"parameters", Dict{{"other", other}}}}), {{"in", 2}});
  Model model = BuildCoded(t, spec);
  if (!trained) model.SetRequiresGrad({"other"}, false);
  model.FullyShard("");
  const auto forward = [&] { model.Forward({Value(at::ones({1, 2}).to(c10::Device(t.device())))}); };
  if (trained) return void(Refused(t, "a forward with trained parameters of two dtypes", {"AssertionError"}, forward));
  forward();
  HasState(t, "the model afterwards", Twin(spec).StateDict(), model, "dsd_full");
}

RULE(WR26) {
  const std::string wrapper = t.TextParam("wrapper");
  Model model = BuildCoded(t, {.name = "linear", .args = {{"in", 2}, {"out", 2}}});
  Wrap(t, model, {}, wrapper);
  const List modules = Modules(model);
  const Value expected = wrapper == "ddp" ? List{"ddp"} : wrapper == "fsdp" ? List{"fsdp"} : List{};
  t.Rule(SameValue("wrappers of the root", expected, modules.at(0).AsDict().At("wrappers")));
}

RULE(WR27) {
  const List layers{LinearNode(4), Dict{{"kind", "layer_norm"}}};
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", layers}});
  Model model = BuildCoded(t, spec);
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  Refused(t, t.TextParam("style") + " on a layer norm", {"NotImplementedError"},
          [&] { model.Parallelize(mesh, {{"1", t.TextParam("style")}}); });
}

RULE(WR28) {
  const std::string outer = t.TextParam("outer"), inner = t.TextParam("inner");
  const List layers{LinearNode(4), LinearNode(2)};
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", layers}}, {{"in", 2}});
  Model model = BuildCoded(t, spec);
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  inner == "tp" ? model.Parallelize(mesh, {{"0", "colwise"}}) : model.FullyShard("0");
  const Value before = t.subject().Clone(model.Parameters());
  const auto wrap = [&] { outer == "fsdp" ? WrapFsdp(model, "") : WrapDdp(model); };
  if (!Refused(t, outer + " over DTensors", {"RuntimeError", "ValueError", "AssertionError"}, wrap)) return;
  t.Rule(SameValue("parameters after the refused wrap", before, model.Parameters()));
}

}  // namespace shardcts::extended
