// Units that compute, reduce or give in another dtype than that of their parameters.
#include <ATen/ATen.h>

#include "contract/tensor_bytes.h"
#include "rank/whole.h"
#include "suites/extended/comparison.h"
#include "suites/extended/rule.h"
#include "suites/extended/tiling.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

// The name of a dtype as options have it; "own": none is given.
std::string NameOrNone(const std::string& name) { return name == "own" ? "" : name; }

}  // namespace

RULE(TR8) {
  constexpr int64_t kWidth = 6;
  const ModelSpec spec{.name = "linear", .args = {{"in", kWidth}, {"out", 4}, {"bias", false}}};
  Model model = BuildCoded(t, spec);
  WrapMixed(t, model, "", t.TextParam("wrapper"), {.reduce_dtype = "bfloat16"});
  // The gradient of every row is this input: 1 to 1 + 5 2^-11, all of which bfloat16 rounds to 1.
  const at::Tensor input = (1 + at::arange(kWidth, at::kFloat) / 2048).reshape({1, kWidth});
  const Value output = model.Forward({Value(input.to(c10::Device(t.device())))});
  model.BackwardFrom(output, at::ones({1, 4}, c10::Device(t.device())));
  for (const auto& [name, value] : model.Gradients()) {
    if (value.IsNone()) continue;
    for (const at::Tensor& part : PartsOf(value)) {
      t.Rule(SameValue(ToString(name) + ": gradient", at::ones(part.sizes(), at::kFloat), part.to(at::kCPU)));
    }
  }
}

RULE(TR10) {
  const std::string output_dtype = t.TextParam("output_dtype");
  Model model = t.subject().Build("linear", {{"in", 1}, {"out", 4}, {"bias", false}}, t.device());
  // bfloat16 rounds it to 1. Of float32 the output would be more.
  const at::Tensor above_one = at::full({1, 1}, 1 + 0x1p-9);
  model.SetValues({{"weight", above_one.expand({4, 1}).contiguous().to(c10::Device(t.device()))}});
  MixedPrecisionPolicy policy{.param_dtype = "bfloat16"};
  if (output_dtype != "as computed") policy.output_dtype = output_dtype;
  WrapMixed(t, model, "", t.TextParam("wrapper"), policy);
  const Value output = model.Forward({Value(above_one.to(c10::Device(t.device())))});
  const at::ScalarType dtype = output_dtype == "float32" ? at::kFloat : at::kBFloat16;
  t.Rule(SameValue("output", at::ones({1, 4}, dtype), output.AsTensor().detach().to(at::kCPU)));
}

RULE(TR11) {
  constexpr double kGradient = 30000;  // three of them are more than float16 holds
  Model model = t.subject().Build("linear", {{"in", 1}, {"out", 8}, {"bias", false}}, t.device());
  WrapMixed(t, model, "", t.TextParam("wrapper"), {.reduce_dtype = "float16"});
  const c10::Device device(t.device());
  const Value output = model.Forward({Value(at::ones({1, 1}, device))});
  model.BackwardFrom(output, at::full({1, 8}, kGradient, device));
  for (const auto& [name, value] : model.Gradients()) {
    if (!value.IsNone()) t.Rule(AllElementsAre("gradient of " + ToString(name), kGradient, value));
  }
}

RULE(TR13) {
  Model model = t.subject().Build("linear", {{"in", 1}, {"out", 4}, {"bias", false}}, t.device());
  const at::Tensor above_one = at::full({1, 1}, 1 + 0x1p-9);
  model.SetValues({{"weight", above_one.expand({4, 1}).contiguous().to(c10::Device(t.device()))}});
  model.FullyShard("", {.mp_policy = MixedPrecisionPolicy{.param_dtype = "bfloat16", .cast_forward_inputs = false}});
  const at::Tensor input = at::full({1, 1}, 3.0).to(c10::Device(t.device()));
  t.RuleRaises("RuntimeError", "", [&] { model.Forward({Value(input)}); });
  const Value output = model.Forward({Value(input.to(at::kBFloat16))});
  t.Rule(SameValue("output", at::full({1, 4}, 3.0, at::kBFloat16), output.AsTensor().detach().to(at::kCPU)));
}

// All numbers are small integers, which every dtype has exactly.
RULE(TR20) {
  const std::string param = NameOrNone(t.TextParam("param")), reduce = NameOrNone(t.TextParam("reduce"));
  const std::string given = NameOrNone(t.TextParam("output"));
  const at::Tensor weight = at::arange(1, 7, at::kFloat).view({3, 2});
  const at::Tensor input = at::full({1, 2}, 1.0 + static_cast<double>(t.rank()));
  const double mean = (1.0 + static_cast<double>(t.world_size())) / 2;
  Model model = t.subject().Build("linear", {{"in", 2}, {"out", 3}, {"bias", false}}, t.device());
  model.SetValues({{"weight", weight.to(c10::Device(t.device()))}});
  WrapMixed(t, model, "", t.TextParam("wrapper"), {.param_dtype = param, .reduce_dtype = reduce, .output_dtype = given});
  const c10::Device device(t.device());
  const Value output = model.Forward({Value(input.to(device))});
  const std::string dtype = !given.empty() ? given : !param.empty() ? param : "float32";
  t.Rule(Equal("dtype of the output", dtype, DtypeName(output.AsTensor().scalar_type())));
  t.Rule(SameValue("output", input.matmul(weight.t()), output.AsTensor().detach().to(at::kFloat).to(at::kCPU)));
  model.BackwardFrom(output, at::ones({1, 3}, output.AsTensor().options().requires_grad(false)));
  for (const auto& [name, value] : model.Gradients()) {
    t.Rule(Holds(!value.IsNone(), ToString(name), "has no gradient"));
    if (value.IsNone()) continue;
    for (const at::Tensor& part : PartsOf(value)) {
      t.Rule(Equal("dtype of the gradient", std::string("float32"), DtypeName(part.scalar_type())));
    }
    t.Rule(AllElementsAre("gradient of " + ToString(name), mean, value));
  }
}

// Of the two gradients, 1 and 2^-9, bfloat16 loses the second in the sum.
RULE(TR23) {
  Model model = t.subject().Build("linear", {{"in", 1}, {"out", 4}, {"bias", false}}, t.device());
  model.Fill(1);
  WrapMixed(t, model, "", t.TextParam("wrapper"), {.param_dtype = "bfloat16"});
  const at::Tensor input = at::full({1, 1}, t.rank() == 0 ? 1.0 : 0x1p-9);
  const Value output = model.Forward({Value(input.to(c10::Device(t.device())))});
  model.BackwardFrom(output, at::ones({1, 4}, output.AsTensor().options().requires_grad(false)));
  for (const auto& [name, value] : model.Gradients()) {
    if (!value.IsNone()) t.Rule(AllElementsAre("gradient of " + ToString(name), 0.5, value));
  }
}

// Of the two layers the first one alone is a unit with a policy.
RULE(TR24) {
  Model model = t.subject().Build("linear_stack", {{"sizes", ToValue(std::vector<int64_t>{1, 2, 2})}}, t.device());
  model.Fill(1);
  model.FullyShard("0", {.mp_policy = MixedPrecisionPolicy{.param_dtype = "bfloat16", .output_dtype = "float32"}});
  model.FullyShard("");
  // bfloat16 rounds it to 1.
  const at::Tensor input = at::full({1, 1}, 1 + 0x1p-9);
  const Value output = model.Forward({Value(input.to(c10::Device(t.device())))});
  t.Rule(SameValue("output", at::full({1, 2}, 5.0), output.AsTensor().detach().to(at::kCPU)));
}

}  // namespace shardcts::extended
