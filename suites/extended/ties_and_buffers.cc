// Tied tensors, buffers and extra state.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/comparison.h"
#include "suites/extended/rule.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

// An embedding of 7 rows, a decoder with the same weight and, with three names, a bare parameter that is the same too.
ModelSpec Tied(int64_t names) {
  const Dict embedding{{"kind", "embedding"}, {"count", 7}, {"out", 3}};
  Dict decoder = LinearNode(7);
  List tied{"embedding.weight", "decoder.weight"};
  if (names == 3) {
    decoder.Set("parameters", Dict{{"again", TensorNode({7, 3}, "float32", {{"unused", true}})}});
    tied.push_back("decoder.again");
  }
  return TreeSpec({{"kind", "sequential"}, {"children", Dict{{"embedding", embedding}, {"decoder", decoder}}}},
                  {{"ties", List{tied}}});
}

std::vector<std::string> TiedNames(int64_t names) {
  if (names == 2) return {"embedding.weight", "decoder.weight"};
  return {"embedding.weight", "decoder.weight", "decoder.again"};
}

// Four buffers in three modules, of which one is not persistent, and a BatchNorm.
ModelSpec WithBuffers() {
  const Dict first = LinearNode(4, {{"buffers", Dict{{"rows", TensorNode({5, 2})}, {"one", TensorNode({})}}}});
  const Dict second = LinearNode(3, {{"buffers", Dict{{"count", TensorNode({3}, "int64")},
                                                      {"scratch", TensorNode({2}, "float32", {{"persistent", false}})}}}});
  const Dict third{{"kind", "batch_norm"}};
  ModelSpec spec =
      TreeSpec({{"kind", "sequential"}, {"children", Dict{{"first", first}, {"second", second}, {"third", third}}}});
  spec.plan = {{"first", "colwise"}, {"second", "rowwise"}};
  return spec;
}

const std::vector<const char*> kBufferDtypes{"float16", "bfloat16", "float64", "bool", "uint8", "int64", "complex64"};

ModelSpec BuffersOfManyDtypes() {
  Dict buffers;
  for (const char* dtype : kBufferDtypes) buffers.Set(std::string("of ") + dtype, TensorNode({3, 2}, dtype));
  return TreeSpec(LinearNode(3, {{"buffers", buffers}}));
}

// {name: tensor} of the model's buffers that state dicts have.
Dict PersistentOf(const Dict& buffers, const Twin& twin) {
  Dict persistent;
  const Dict state = twin.StateDict();
  for (const auto& [name, value] : buffers) {
    if (state.Contains(name)) persistent.Set(name, value);
  }
  return persistent;
}

Dict BuffersOf(const Twin& twin) {
  Dict buffers;
  const Dict parameters = twin.Parameters();
  for (const auto& [name, value] : twin.StateDict()) {
    if (!parameters.Contains(name)) buffers.Set(name, value);
  }
  return buffers;
}

// Three modules whose extra states are these values.
ModelSpec WithExtraState(const std::vector<Value>& values) {
  Dict children;
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string name = "m" + std::to_string(i);
    children.Set(name, LinearNode(4, {{"extra_state", values[i]},
                                      {"hooks", Dict{{"get " + name, "get_extra_state"}, {"set " + name, "set_extra_state"}}}}));
  }
  ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", children}});
  spec.plan = {{"m0", "colwise"}, {"m1", "rowwise"}};
  return spec;
}

std::vector<Value> ExtraValues(const std::string& kind) {
  if (kind == "tensor") return {at::arange(5), at::full({}, 2.5), at::ones({2, 3}, at::kBool)};
  if (kind == "dict") return {Dict{{"a", List{1, "two", Value()}}, {"b", Dict{{"deep", true}}}}, Dict{}, Dict{{"n", 3.5}}};
  return {"text", 7, List{false, 1.25, "x"}};
}

void RunsAre(Trial& t, const std::string& when, const Model& model, const std::string& hook, size_t expected) {
  for (const auto& [name, prefixes] : model.HookRuns()) {
    if (name.starts_with(hook)) t.Rule(Equal(when + ": runs of " + name, expected, prefixes.size()));
  }
}

bool IsFsdp(std::string_view wrapper) { return wrapper == "fsdp" || wrapper == "fsdp_orig"; }

}  // namespace

RULE(TB1) {
  const ModelSpec spec = Tied(t.IntParam("names"));
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model saved = BuildWrapped(t, spec, wrapper);
  HasState(t, "saved model", Twin(spec).StateDict(), saved, form);
  Model loaded = LoadedFromCoded(t, spec, wrapper, form);
  HasState(t, "loaded model", Twin(spec).StateDict(), loaded, form);
}

RULE(TB2) {
  const int64_t names = t.IntParam("names");
  const ModelSpec spec = Tied(names);
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model loaded = LoadedFromCoded(t, spec, wrapper, form);
  if (!IsFsdp(wrapper)) {
    const Dict parameters = loaded.Parameters(/*remove_duplicate=*/false);
    for (const std::string& name : TiedNames(names)) {
      t.Rule(Equal(name + ": storage of the first name", StoragePointer(parameters.At("embedding.weight")),
                   StoragePointer(parameters.At(name))));
    }
  }
  Optimizer optimizer = t.subject().CreateOptimizer(loaded, "sgd", {.lr = 0.5});
  loaded.Backward(loaded.Forward({Value(at::ones({2, 4}).to(c10::Device(t.device())))}));
  optimizer.Step();
  const Dict state = WholeDict(t, ForAllRanks(t, form, GetState(loaded, form)));
  const at::Tensor& first = state.At("embedding.weight").AsTensor();
  t.Rule(Holds(!at::equal(first.cpu(), Twin(spec).StateDict().At("embedding.weight").AsTensor()), "embedding.weight",
               "a step changed nothing"));
  for (const std::string& name : TiedNames(names)) t.Rule(SameValue(name + " after a step", first, state.At(name)));
}

RULE(TB5) {
  const ModelSpec spec = Tied(2);
  const std::string form = t.TextParam("form");
  Dict state = Twin(spec).StateDict();
  state.Set("decoder.weight", state.At("decoder.weight").AsTensor() + 0.5);
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  SetState(model, form, state);
  state.Set("embedding.weight", state.At("decoder.weight"));
  HasState(t, "model", state, model, form);
}

RULE(TB6) {
  const ModelSpec spec = WithBuffers();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model saved = BuildWrapped(t, spec, wrapper);
  const Dict state = GetState(saved, form);
  Model loaded = BuildWrapped(t, spec, wrapper);
  loaded.Fill(1 + t.rank(), /*buffers=*/true);
  SetState(loaded, form, state);
  const Twin twin(spec);
  SameState(t, "buffers after the load", BuffersOf(twin), WholeDict(t, PersistentOf(loaded.Buffers(), twin)));
}

RULE(TB7) {
  const ModelSpec spec = BuffersOfManyDtypes();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const Twin twin(spec);
  Dict beyond = BuffersOf(twin);
  beyond.At("of int64").AsTensor().fill_((int64_t{1} << 53) + 1);
  Model saved = BuildCoded(t, spec);
  saved.SetValues(Dict{{"of int64", beyond.At("of int64")}});
  const FsdpMixedPrecision precision{.buffer_dtype = t.TextParam("buffer_dtype")};
  const auto wrap = [&](Model& model) {
    if (precision.buffer_dtype == "none") return Wrap(t, model, spec, wrapper);
    WrapFsdp(model, "", {.use_orig_params = wrapper == "fsdp_orig", .mixed_precision = precision});
  };
  wrap(saved);
  const Dict state = GetState(saved, form);
  const Dict seen = ForAllRanks(t, form, state);
  for (const auto& [name, value] : beyond) {
    const at::Tensor& found = seen.At(name).AsTensor();
    t.Rule(Equal(ToString(name) + ": dtype in the dict", std::string(c10::toString(value.AsTensor().scalar_type())),
                 std::string(c10::toString(found.scalar_type()))));
    if (precision.buffer_dtype == "none") t.Rule(SameValue(ToString(name) + ": in the dict", value, seen.At(name)));
  }
  Model loaded = BuildWrapped(t, spec, "plain");
  loaded.Fill(0, /*buffers=*/true);
  wrap(loaded);
  SetState(loaded, form, state);
  const Dict again = ForAllRanks(t, form, GetState(loaded, form));
  for (const auto& [name, value] : beyond) t.Rule(SameValue(ToString(name) + ": after the load", seen.At(name), again.At(name)));
}

RULE(TB8) {
  const ModelSpec spec = TreeSpec(LinearNode(3, {{"buffers", Dict{{"third", TensorNode({3})}}}}));
  const at::Tensor thirds = at::full({3}, 1.0 / 3, at::kFloat);
  Model model = BuildCoded(t, spec);
  model.SetValues(Dict{{"third", thirds}});
  WrapFsdp(model, "", {.mixed_precision = FsdpMixedPrecision{.buffer_dtype = "bfloat16"}});
  t.Rule(SameValue("third", thirds, GetState(model, t.TextParam("form")).At("third")));
}

RULE(TB10) {
  const std::vector<Value> values = ExtraValues(t.TextParam("state"));
  const ModelSpec spec = WithExtraState(values);
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model saved = BuildWrapped(t, spec, wrapper);
  const Dict state = GetState(saved, form);
  RunsAre(t, "one save", saved, "get", 1);
  Model loaded = BuildWrapped(t, WithExtraState({Value("old"), Value("old"), Value("old")}), wrapper);
  SetState(loaded, form, state);
  RunsAre(t, "one load", loaded, "set", 1);
  const Dict again = ForAllRanks(t, form, GetState(loaded, form));
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string name = fmt::format("m{}._extra_state", i);
    t.Rule(SameValue(name, values[i], again.At(name)));
  }
}

RULE(TB12) {
  const Dict holder = BareNode({}, Dict{{"b", TensorNode({3})}});
  const ModelSpec spec =
      TreeSpec({{"kind", "sequential"}, {"children", Dict{{"x", holder}, {"y", holder}, {"layer", LinearNode(3)}}}},
               {{"ties", List{List{"x.b", "y.b"}}}});
  const std::string form = t.TextParam("form");
  Model loaded = LoadedFromCoded(t, spec, t.TextParam("wrapper"), form);
  const Dict buffers = loaded.Buffers();
  t.Rule(SameNames("buffers: a shared one under its first name", {"x.b"}, buffers.Keys()));
  t.Rule(SameValue("x.b", Twin(spec).StateDict().At("x.b"), buffers.At("x.b")));
  loaded.SetValues(Dict{{"x.b", at::full({3}, 5.0)}});
  const Dict state = ForAllRanks(t, form, GetState(loaded, form));
  t.Rule(SameValue("y.b after x.b was changed", at::full({3}, 5.0), state.At("y.b")));
}

RULE(TB13) {
  const ModelSpec spec = WithBuffers();
  Model model = BuildCoded(t, spec);
  const Dict scratch{{"second.scratch", t.subject().Clone(model.Buffers().At("second.scratch"))}};
  if (t.rank() > 0) model.Fill(t.rank(), /*buffers=*/true);
  Wrap(t, model, spec, "ddp");
  const Twin twin(spec);
  SameState(t, "parameters of the first rank", twin.Parameters(), model.Parameters());
  const Dict buffers = model.Buffers();
  SameState(t, "buffers of the first rank", BuffersOf(twin), PersistentOf(buffers, twin));
  const Dict found{{"second.scratch", buffers.At("second.scratch")}};
  SameState(t, "the buffer that is not persistent, of the first rank", scratch, found);
}

// In the order of the model.
RULE(TB14) {
  const ModelSpec spec = Tied(t.IntParam("names"));
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  model.SetRequiresGrad({"embedding.weight"}, false);
  const Dict expected{{"decoder.bias", Twin(spec).StateDict().At("decoder.bias")}};
  StateDictOptions options{.full_state_dict = true, .ignore_frozen_params = true};
  SameState(t, "without what is frozen", expected, GetModelStateDict(model, options));
}

RULE(TB15) {
  const Dict inner{{"kind", "sequential"}, {"children", List{LinearNode(4)}}, {"buffers", Dict{{"b", TensorNode({3})}}}};
  const Dict root{{"kind", "sequential"}, {"children", List{inner, LinearNode(2)}}, {"buffers", Dict{{"c", TensorNode({3})}}}};
  Model model = BuildCoded(t, TreeSpec(root));
  WrapFsdp(model, "0", {.mixed_precision = FsdpMixedPrecision{.buffer_dtype = "float16"}});
  WrapFsdp(model, "", {.mixed_precision = FsdpMixedPrecision{.buffer_dtype = "bfloat16"}});
  model.Forward({Value(at::ones({2, 4}).to(c10::Device(t.device())))});
  const Dict buffers = model.Buffers();
  for (const auto& [name, dtype] : {std::pair{"0.b", at::kHalf}, std::pair{"c", at::kBFloat16}}) {
    t.Rule(Equal(std::string(name) + ": dtype", std::string(c10::toString(dtype)),
                 std::string(c10::toString(buffers.At(name).AsTensor().scalar_type()))));
  }
}

RULE(TB16) {
  const Dict buffers{{"mean", TensorNode({3})}, {"count", TensorNode({2}, "int64")}};
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", List{LinearNode(4, {{"buffers", buffers}})}}});
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const int64_t width = Twin(spec).Parameters().At("0.weight").AsTensor().size(1);
  for (const int64_t round : {1, 2}) {
    model.Fill(static_cast<double>(round + 10 * t.rank()), /*buffers=*/true);
    model.Forward({Value(at::ones({1, width}).to(c10::Device(t.device())))});
    for (const auto& [name, value] : model.Buffers()) {
      t.Rule(AllElementsAre(fmt::format("{} after forward {}", ToString(name), round), static_cast<double>(round), value));
    }
  }
}

RULE(TB17) {
  const Dict scratch = TensorNode({2}, "float32", {{"persistent", false}});
  const Dict buffers{{"buffers", Dict{{"scratch", scratch}, {"kept", TensorNode({3})}}}};
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", List{LinearNode(4, buffers)}}});
  Model model = BuildCoded(t, spec), plain = BuildCoded(t, spec);
  model.Parallelize(t.subject().InitMesh({t.world_size()}, {"tp"}), {{"0", t.TextParam("style")}});
  t.Rule(SameNameSet("names", plain.StateDict().Keys(), model.StateDict().Keys()));
}

RULE(TB18) {
  const Dict layer = LinearNode(4, {{"buffers", Dict{{"mean", TensorNode({3})}}}});
  const Dict children{{"first", layer}, {"again", Dict{{"kind", "shared"}, {"path", "first"}}}};
  const ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", children}}, {{"in", 4}});
  Model model = BuildCoded(t, spec);
  const Dict expected = BuildCoded(t, spec).StateDict();
  FsdpOptions options = FsdpOptionsOf(t, t.TextParam("wrapper"));
  options.mixed_precision = FsdpMixedPrecision{.buffer_dtype = "float16"};
  WrapFsdp(model, "", options);
  model.Forward({Value(at::ones({2, 4}).to(c10::Device(t.device())))});
  const Dict state = GetState(model, "full");
  for (const char* name : {"first.mean", "again.mean"}) {
    const auto dtype = [](const Value& buffer) { return std::string(c10::toString(buffer.AsTensor().scalar_type())); };
    const Value* saved = state.Find(name);
    if (!t.Rule(Holds(saved != nullptr, name, "is not in the state dict"))) continue;
    t.Rule(Equal(std::string(name) + ": dtype", dtype(expected.At(name)), dtype(*saved)));
  }
}

}  // namespace shardcts::extended
