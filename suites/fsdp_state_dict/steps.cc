#include "suites/fsdp_state_dict/steps.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

namespace shardcts::fsdp_state_dict {
namespace {

constexpr std::string_view kLayerClasses[] = {"TransformerEncoderLayer", "TransformerDecoderLayer"};

Model Linears(Trial& t, std::vector<int64_t> sizes) {
  return t.subject().Build("linear_stack", {{"sizes", ToValue(sizes)}, {"bias", false}});
}

Dict Cloned(Trial& t, const Dict& tensors) { return t.subject().Clone(tensors).AsDict(); }

// Whether any common pair differs, or one has a name that the other lacks.
bool AnyDiffers(const Dict& expected, const Dict& actual) {
  if (expected.Keys() != actual.Keys()) return true;
  for (const auto& [name, value] : expected) {
    if (!SameValue(ToString(name), value, actual.At(name)).ok) return true;
  }
  return false;
}

void ExpectSameCount(Trial& t, std::string_view check, const char* what, const Dict& expected, const Dict& actual) {
  t.Check(check, Equal(what, expected.size(), actual.size()));
  t.Strict(check, SameNames(what, expected.Keys(), actual.Keys()));
}

}  // namespace

StateDictKind KindNamed(std::string_view name) {
  if (name == "state_dict") return StateDictKind::kFull;
  if (name == "sharded_state_dict") return StateDictKind::kSharded;
  return StateDictKind::kLocal;
}

StateDictKind KindOf(const Trial& t) { return KindNamed(t.TextParam("state_dict_type")); }

StateDictConfig ConfigFor(StateDictKind kind, bool rank0_and_offload) {
  return {.offload_to_cpu = rank0_and_offload, .rank0_only = rank0_and_offload && kind == StateDictKind::kFull};
}

FsdpMixedPrecision HalfPrecision() {
  return {.param_dtype = "float16", .reduce_dtype = "float16", .buffer_dtype = "float16"};
}

at::Tensor RandomInput(const Trial& t, at::IntArrayRef shape, int64_t number) {
  const at::Generator generator = at::detail::createCPUGenerator(1234 + static_cast<uint64_t>(number));
  return at::randn(shape, generator, at::kFloat).to(c10::Device(t.device()));
}

Model SimpleModel(Trial& t, const FsdpOptions& options, bool checkpoint) {
  Model model = t.subject().Build("linear", {{"in", 10}, {"out", 10}, {"bias", false}}, t.device());
  if (checkpoint) WrapCheckpoint(model, "");
  WrapFsdp(model, "", options);
  return model;
}

Model NestedModel(Trial& t, const FsdpOptions& options, bool checkpoint) {
  Model model = Linears(t, {10, 10, 10});
  if (checkpoint) {
    for (const char* path : {"0", "1", ""}) WrapCheckpoint(model, path);
  }
  model.To(t.device());
  WrapFsdp(model, "0", options);
  WrapFsdp(model, "", options);
  return model;
}

Model NonFsdpRootModel(Trial& t, const FsdpOptions& options) {
  Model model = t.subject().Build("non_fsdp_root", {}, t.device());
  for (const char* path : {"fsdp_1.0", "fsdp_1", "fsdp_2.0", "fsdp_2"}) WrapFsdp(model, path, options);
  return model;
}

Model PlainInnerOuterModel(Trial& t, bool register_buffers) {
  t.subject().Seed(0);
  return t.subject().Build("inner_outer", {{"register_buffers", register_buffers}}, t.device());
}

Model InnerOuterModel(Trial& t, bool register_buffers) {
  t.subject().Seed(0);
  Model model = t.subject().Build("inner_outer", {{"register_buffers", register_buffers}});
  WrapFsdp(model, "inner");
  model.To(t.device());  // moves a unit that is wrapped already
  WrapFsdp(model, "");
  return model;
}

Model SharedParametersModel(Trial& t, const FsdpOptions& options) {
  Model model = t.subject().Build("transformer_with_shared_params", {}, t.device());
  FsdpOptions with_policy = options;
  with_policy.auto_wrap_policy = AutoWrapPolicy::Classes({kLayerClasses[0].data(), kLayerClasses[1].data()});
  WrapFsdp(model, "", with_policy);
  return model;
}

FullState FullStateOf(Trial& t, Model& model) {
  FullState state;
  WithFullParams(model, [&] { state = {Cloned(t, model.Parameters()), Cloned(t, model.Buffers())}; });
  return state;
}

void Zero(Model& model, bool buffers) {
  WithFullParams(model, [&] { model.Fill(0, buffers); });
}

void ExpectSame(Trial& t, std::string_view check, const Dict& expected, const Dict& actual,
                const CompareOptions& options) {
  t.Strict(check, SameNames("names", expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* other = actual.Find(name);
    if (!t.Check(check, Holds(other != nullptr, ToString(name), "is missing"))) continue;
    t.Check(check, SameValue(ToString(name), value, *other, options));
  }
}

void ExpectEqual(Trial& t, Model& model, Model& other, const ComparisonChecks& checks) {
  const FullState expected = FullStateOf(t, model);
  const FullState actual = FullStateOf(t, other);
  ExpectSameCount(t, checks.parameter_count, "full parameters", expected.parameters, actual.parameters);
  ExpectSame(t, checks.parameters, expected.parameters, actual.parameters);
  if (!checks.buffer_count.empty()) {
    ExpectSameCount(t, checks.buffer_count, "buffers", expected.buffers, actual.buffers);
    ExpectSame(t, checks.buffers, expected.buffers, actual.buffers);
  }
  if (checks.half.empty()) return;
  for (const auto& [name, value] : actual.parameters) {
    t.Check(checks.half,
            Holds(DtypeOf(value) == at::kHalf, ToString(name), "expected float16, actual " + ToString(value)));
  }
}

void ExpectDifferent(Trial& t, Model& model, Model& other, const ComparisonChecks& checks) {
  const FullState expected = FullStateOf(t, model);
  const FullState actual = FullStateOf(t, other);
  ExpectSameCount(t, checks.parameter_count, "full parameters", expected.parameters, actual.parameters);
  t.Check(checks.parameters, Holds(AnyDiffers(expected.parameters, actual.parameters), "full parameters",
                                   "expected a difference, all are equal"));
  if (checks.buffer_count.empty()) return;
  ExpectSameCount(t, checks.buffer_count, "buffers", expected.buffers, actual.buffers);
  t.Check(checks.buffers,
          Holds(AnyDiffers(expected.buffers, actual.buffers), "buffers", "expected a difference, all are equal"));
}

void ExpectOnlyOnRank0(Trial& t, const Dict& saved, const ContentChecks& checks, std::string_view ignored,
                       bool fsdp_root) {
  if (t.rank() != 0) {
    if (fsdp_root) t.Check(checks.empty, SameNames("state-dict keys on this rank", {}, saved.Keys()));
    return;
  }
  t.Check(checks.not_empty, Holds(!saved.empty(), "state dict on rank 0", "expected entries, it is empty"));
  for (const auto& [name, value] : saved) {
    if (!ignored.empty() && ToString(name).find(ignored) != std::string::npos) continue;
    const at::Tensor& tensor = value.AsTensor();
    t.Check(checks.device, Holds(tensor.is_cpu(), ToString(name), "expected on cpu, actual " + tensor.device().str()));
  }
}

at::ScalarType DtypeOf(const Value& value) {
  if (const auto* sharded = value.TryAs<ShardedTensor>()) return sharded->dtype;
  return LocalPart(value).scalar_type();
}

void Load(Trial& t, std::string_view check, Model& model, const Dict& state_dict) {
  LoadResult result;
  t.NoError(check, [&] { result = model.LoadStateDict(state_dict); });
  t.Strict(check, SameNames("missing keys", {}, result.missing_keys));
  t.Strict(check, SameNames("unexpected keys", {}, result.unexpected_keys));
}

}  // namespace shardcts::fsdp_state_dict
