// Dtypes, requires_grad and devices of what state dicts hold and loads leave.
#include <ATen/ATen.h>

#include <bit>
#include <set>

#include "contract/dsd.h"
#include "contract/fsdp.h"
#include "suites/extended/coded.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

const std::vector<const char*> kParameterDtypes{"float32", "bfloat16", "float64", "complex64", "uint8", "int64", "bool"};

// One module with a parameter and a buffer of each dtype, with an odd number of elements on some rank.
ModelSpec ManyDtypes() {
  Dict parameters, buffers;
  for (const char* dtype : kParameterDtypes) {
    parameters.Set(std::string("p ") + dtype, TensorNode({5, 3}, dtype, {{"unused", true}}));
    buffers.Set(std::string("b ") + dtype, TensorNode({3}, dtype));
  }
  return TreeSpec(BareNode(parameters, buffers));
}

ModelSpec TwoLayers(const char* dtype = "float32", List frozen = {}) {
  const Dict layer = LinearNode(5, {{"dtype", dtype}});
  ModelSpec spec = TreeSpec({{"kind", "sequential"}, {"children", List{layer, LinearNode(3, {{"dtype", dtype}})}}},
                            {{"frozen", std::move(frozen)}});
  spec.plan = {{"0", "colwise"}, {"1", "rowwise"}};
  return spec;
}

at::Tensor FromBits(const std::vector<uint32_t>& bits) {
  std::vector<int32_t> words;
  for (const uint32_t word : bits) words.push_back(std::bit_cast<int32_t>(word));
  return at::tensor(words, at::kInt).view(at::kFloat).clone();
}

// NaNs with payloads, a signalling one, both zeros, subnormals, infinities, and the largest number.
const std::vector<uint32_t> kSpecialBits{0x7fc12345, 0xffc54321, 0x7f800001, 0x80000000, 0x00000000,
                                         0x00000001, 0x807fffff, 0x7f800000, 0xff800000, 0x7f7fffff};

Dict SpecialValues() {
  return {{"special", FromBits(kSpecialBits)}, {"rows", FromBits(kSpecialBits).reshape({5, 2})},
          {"buffer", FromBits(kSpecialBits).flip(0)}};
}

ModelSpec Special() {
  const Dict parameters{{"special", TensorNode({10})}, {"rows", TensorNode({5, 2})}};
  return TreeSpec(BareNode(parameters, Dict{{"buffer", TensorNode({10})}}));
}

// The entries, converted to another floating dtype.
Dict Converted(const Dict& state, at::ScalarType dtype) {
  Dict converted;
  for (const auto& [name, value] : state) {
    const at::Tensor& tensor = value.AsTensor();
    converted.Set(name, tensor.is_floating_point() ? tensor.to(dtype) : tensor);
  }
  return converted;
}

at::ScalarType DtypeNamed(const std::string& name) { return name == "bfloat16" ? at::kBFloat16 : at::kFloat; }

bool RequiresGrad(const Value& value) {
  const auto* dtensor = value.TryAs<DTensor>();
  return dtensor ? dtensor->requires_grad : value.AsTensor().requires_grad();
}

at::Tensor InputOf(Trial& t, at::ScalarType dtype = at::kFloat) {
  return at::ones({2, 4}, at::TensorOptions().dtype(dtype)).to(c10::Device(t.device()));
}

// The same values with other strides: transposed storage, a repeated row, a part of a larger tensor.
at::Tensor AsView(const at::Tensor& tensor, size_t kind) {
  if (kind == 0 && tensor.dim() == 2) return tensor.t().contiguous().t();
  if (kind == 1) {
    at::Tensor larger = at::zeros_like(tensor).repeat(std::vector<int64_t>(tensor.dim(), 2));
    at::Tensor part = larger;
    for (int64_t dim = 0; dim < tensor.dim(); ++dim) part = part.narrow(dim, 1, tensor.size(dim));
    return part.copy_(tensor);
  }
  return tensor;
}

void FreezesOnly(Trial& t, const std::set<Key>& frozen, Model& model) {
  for (const auto& [name, value] : model.Parameters()) {
    const bool trains = !frozen.contains(name);
    t.Rule(Equal(ToString(name) + ": requires a gradient after the load", trains, RequiresGrad(value)));
  }
}

}  // namespace

RULE(DT1) {
  const ModelSpec spec = ManyDtypes();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, spec, wrapper);
  HasState(t, "model", Twin(spec).StateDict(), model, form);
  Model loaded = LoadedFromCoded(t, spec, wrapper, form);
  HasState(t, "loaded model", Twin(spec).StateDict(), loaded, form);
}

RULE(DT2) {
  const ModelSpec spec = Special();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const Dict values = SpecialValues();
  Model saved = BuildCoded(t, spec);
  saved.SetValues(values);
  Wrap(t, saved, spec, wrapper);
  const Dict state = GetState(saved, form);
  HasEntries(t, "saved", values, ForAllRanks(t, form, state));
  Model loaded = BuildWrapped(t, spec, wrapper);
  SetState(loaded, form, state);
  HasState(t, "loaded", values, loaded, form);
}

RULE(DT3) {
  const bool is_trained = t.BoolParam("trained");
  const ModelSpec spec = TwoLayers("float32", {"0.weight"});
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model model = BuildCoded(t, spec);
  if (wrapper == "fully_shard") {
    model.FullyShard("", {.mp_policy = MixedPrecisionPolicy{.param_dtype = "bfloat16", .reduce_dtype = "float32"}});
  } else {
    WrapFsdp(model, "", {.use_orig_params = true,
                         .mixed_precision = FsdpMixedPrecision{.param_dtype = "bfloat16", .reduce_dtype = "float32"}});
  }
  const Dict expected = Twin(spec).StateDict();
  HasState(t, "before a forward", expected, model, form);
  const Value output = model.Forward({Value(InputOf(t))});
  if (is_trained) model.Backward(output);
  HasState(t, is_trained ? "after backward" : "after a forward", expected, model, form);
}

RULE(DT4) {
  const std::string own = t.TextParam("dtype");
  const at::ScalarType other = own == "float32" ? at::kBFloat16 : at::kFloat;
  const ModelSpec spec = TwoLayers(own.c_str());
  const std::string form = t.TextParam("form");
  // Values that bfloat16 does not hold exactly, if the dict is the wider one.
  Dict given = Converted(Twin(spec).StateDict(), other);
  for (auto& [name, value] : given) value = value.AsTensor() + 1.0 / 3;
  const Dict expected = Converted(given, DtypeNamed(own));
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const bool is_only_on_rank_0 = form == "dsd_broadcast" && t.rank() > 0;
  SetState(model, form, is_only_on_rank_0 ? Dict{} : given);
  HasState(t, "loaded", expected, model, form);
}

RULE(DT5) {
  const ModelSpec spec = TwoLayers("bfloat16");
  const Dict given = Converted(Twin(spec).StateDict(), at::kFloat);
  Model model = BuildCoded(t, spec, "meta");
  Wrap(t, model, spec, t.TextParam("wrapper"));
  SetState(model, "dsd_full", given);
  HasState(t, "loaded", Converted(given, at::kBFloat16), model, "dsd_full");
}

RULE(DT6) {
  const ModelSpec spec = TwoLayers("float32", {"0.weight", "1.bias"});
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model saved = BuildWrapped(t, TwoLayers(), wrapper);
  const Dict state = GetState(saved, form);
  for (const auto& [name, value] : state) {
    if (value.TryAs<Tensor>() || value.TryAs<DTensor>()) {
      t.Rule(Equal(ToString(name) + ": the entry requires a gradient", false, RequiresGrad(value)));
    }
  }
  Model loaded = BuildWrapped(t, spec, wrapper);
  SetState(loaded, form, state);
  FreezesOnly(t, {"0.weight", "1.bias"}, loaded);
}

RULE(DT12) {
  const ModelSpec spec = TwoLayers("float32", {"0.weight", "1.bias"});
  const std::string wrapper = t.TextParam("wrapper");
  Model saved = BuildWrapped(t, TwoLayers(), wrapper);
  const Dict given = t.subject().Clone(GetState(saved, "native")).AsDict();
  Model loaded = BuildWrapped(t, spec, wrapper);
  loaded.LoadStateDict(given, {.assign = true});
  FreezesOnly(t, {"0.weight", "1.bias"}, loaded);
}

RULE(DT7) {
  const ModelSpec spec = TwoLayers("bfloat16");
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  // A step that is int64, a first moment in float32, and a flag for each element.
  Dict given = CodedAdamStateDict(Converted(Twin(spec).Parameters(), at::kFloat));
  for (auto& [name, state] : given.Find("state")->AsDict()) {
    const at::Tensor moment = state.AsDict().At("exp_avg").AsTensor();
    state.AsDict().Set("exp_avg", moment + 1.0 / 1024);
    state.AsDict().Set("seen", at::ones_like(moment, at::kBool));
    state.AsDict().Set("count", at::full_like(moment, (int64_t{1} << 40) + 1, at::kLong));
  }
  SetOptimizerState(model, {optimizer}, form, given);
  HasEntries(t, "optimizer state", given.At("state").AsDict(),
             GetOptimizerState(model, {optimizer}, form).At("state").AsDict());
}

RULE(DT8) {
  const ModelSpec spec = TwoLayers();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model model = BuildWrapped(t, spec, wrapper);
  Optimizer optimizer = t.subject().CreateOptimizer(model, t.TextParam("optimizer"));
  model.Backward(model.Forward({Value(InputOf(t))}));
  optimizer.Step();
  const Dict state = GetOptimizerState(model, {optimizer}, form);
  SetOptimizerState(model, {optimizer}, form, state);
  const Dict seen = ForAllRanks(t, form, GetOptimizerState(model, {optimizer}, form)).At("state").AsDict();
  t.Rule(SameNameSet("names of the state", Twin(spec).Parameters().Keys(), seen.Keys()));
  size_t counters = 0;
  for (const auto& [name, entries] : seen) {
    for (const char* counter : {"step", "mu_product", "eta", "mu", "total"}) {
      const Value* value = entries.AsDict().Find(counter);
      if (!value) continue;
      ++counters;
      const std::string what = ToString(name) + "." + counter;
      if (!t.Rule(IsPlainTensor(what, *value))) continue;
      t.Rule(Equal(what + ": dimensions", int64_t{0}, value->AsTensor().dim()));
      t.Rule(Equal(what + ": dtype", std::string("Float"), std::string(c10::toString(value->AsTensor().scalar_type()))));
      t.Rule(Equal(what + ": device", std::string("cpu"), value->AsTensor().device().str()));
      if (std::string_view(counter) == "step") t.Rule(SameValue(what, at::full({}, 1.0F), *value));
    }
  }
  t.Rule(Holds(counters > 0, "optimizer state", "has no counter"));
}

RULE(DT10) {
  const ModelSpec spec = TwoLayers();
  const std::string form = t.TextParam("form");
  Model model = BuildCoded(t, spec);
  model.FullyShard("", {.offload_policy = CpuOffloadPolicy{.pin_memory = false}});
  HasState(t, "model", Twin(spec).StateDict(), model, form);
  Model loaded = BuildCoded(t, spec);
  loaded.Fill(0);
  loaded.FullyShard("", {.offload_policy = CpuOffloadPolicy{.pin_memory = false}});
  SetState(loaded, form, GetState(model, form));
  HasState(t, "loaded model", Twin(spec).StateDict(), loaded, form);
  for (const auto& [name, value] : loaded.Parameters()) {
    t.Rule(Equal(ToString(name) + ": device of the shard", std::string("cpu"), LocalPart(value).device().str()));
  }
  Optimizer optimizer = t.subject().CreateOptimizer(loaded, "sgd", {.lr = 0.5});
  loaded.Backward(loaded.Forward({Value(InputOf(t))}));
  optimizer.Step();
  Twin twin(spec);
  TwinOptimizer twin_optimizer(twin, "sgd", {.lr = 0.5});
  twin.Backward(twin.Forward({at::ones({2, 4})}));
  twin_optimizer.Step();
  HasState(t, "model after a step", twin.StateDict(), loaded, form);
}

RULE(DT11) {
  const ModelSpec spec = TwoLayers();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  const Dict expected = Twin(spec).StateDict();
  Dict given = expected;
  if (t.rank() == 0 || t.BoolParam("every_rank")) {
    for (auto& [name, value] : given) value = AsView(value.AsTensor(), static_cast<size_t>(t.IntParam("view")));
  }
  Model model = BuildWrapped(t, spec, wrapper);
  model.Fill(0);
  SetState(model, form, form == "dsd_broadcast" && t.rank() > 0 ? Dict{} : given);
  HasState(t, "loaded", expected, model, form);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  Dict state = CodedAdamStateDict(expected);
  const Dict moments = state.At("state").AsDict();
  if (t.rank() == 0 || t.BoolParam("every_rank")) {
    for (auto& [name, entries] : state.Find("state")->AsDict()) {
      for (const char* moment : {"exp_avg", "exp_avg_sq"}) {
        entries.AsDict().Set(moment, AsView(entries.AsDict().At(moment).AsTensor(), static_cast<size_t>(t.IntParam("view"))));
      }
    }
  }
  if (form == "full" || form == "native") return;
  SetOptimizerState(model, {optimizer}, form, form == "dsd_broadcast" && t.rank() > 0 ? Dict{} : state);
  HasEntries(t, "optimizer state", moments,
             GetOptimizerState(model, {optimizer}, "dsd_full").At("state").AsDict());
}

RULE(DT13) {
  const std::string wrapper = t.TextParam("wrapper");
  const ModelSpec spec = {.name = "linear_stack", .args = {{"sizes", ToValue(std::vector<int64_t>{3, 5, 2})}}, .units = {"0"}};
  Model model = BuildWrapped(t, spec, wrapper);
  const c10::Device device(t.device());
  model.Forward({Value(at::ones({2, 3}, device))});
  Require(model.caller(), "model.to", {{"model", model.handle()}, {"dtype", "float64"}});
  const Value output = model.Forward({Value(at::ones({2, 3}, at::TensorOptions(device).dtype(at::kDouble)))});
  t.Rule(Equal<std::string>("dtype of the output", "Double", c10::toString(output.AsTensor().scalar_type())));
  Dict expected;
  for (const auto& [name, value] : Twin(spec).StateDict()) expected.Set(name, value.AsTensor().to(at::kDouble));
  HasState(t, "model in float64", expected, model, t.TextParam("form"));
}

// A step with gradients of 0 and a learning rate of 0 is not nothing: Adam's epsilon is 0 in float16, and 0 / 0 no
// number.
RULE(DT14) {
  const ModelSpec spec = TwoLayers(t.TextParam("dtype").c_str());
  Model model = BuildWrapped(t, spec, t.TextParam("wrapper"));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 0.25});
  GetOptimizerState(model, {optimizer}, t.TextParam("form"));
  HasState(t, "model after the get", Twin(spec).StateDict(), model, "dsd_full");
}

}  // namespace shardcts::extended
