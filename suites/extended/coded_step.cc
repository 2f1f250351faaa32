#include "suites/extended/coded_step.h"

#include <ATen/ATen.h>

#include "rank/whole.h"
#include "suites/extended/comparison.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

constexpr int64_t kWidth = 3;

struct BranchLayer {
  const char* name;
  int64_t rows;
};
constexpr BranchLayer kLayers[] = {{"a", 5}, {"b", 4}, {"c", 5}};
constexpr int64_t kRowsOfAll = 14;

// (1, kWidth): 2^-6, 2^-12, 2^-18.
at::Tensor Input() {
  return at::pow(2.0, at::arange(1, kWidth + 1, at::kDouble).mul(-6)).to(at::kFloat).reshape({1, kWidth});
}

// Multiples of the world size: averages over any part of the ranks are exact.
at::Tensor GradientOfOutput(const Trial& t, int64_t step) {
  const at::Tensor codes = at::arange(1, kRowsOfAll + 1, at::kFloat).add(16 * (step % 4));
  return codes.mul(t.world_size()).reshape({1, kRowsOfAll});
}

// "state.NAME.STATE" -> {NAME: {STATE: value}}.
Dict StateOfFlat(const Dict& flat) {
  constexpr std::string_view kPrefix = "state.";
  Dict state;
  for (const auto& [key, value] : flat) {
    const std::string text = ToString(key);
    if (!text.starts_with(kPrefix)) continue;
    const size_t dot = text.rfind('.');
    const std::string name = text.substr(kPrefix.size(), dot - kPrefix.size());
    if (!state.Contains(name)) state.Set(name, Dict{});
    state.Find(name)->AsDict().Set(text.substr(dot + 1), value);
  }
  return state;
}

}  // namespace

ModelSpec ThreeBranches(bool bias) {
  Dict children;
  for (const BranchLayer& layer : kLayers) children.Set(layer.name, LinearNode(layer.rows, {{"bias", bias}}));
  return TreeSpec({{"kind", "branch"}, {"children", children}}, {{"in", kWidth}}, {"a", "c"});
}

Dict CodedGradients(const Trial& t, int64_t step) {
  Dict gradients;
  int64_t first = 0;
  for (const BranchLayer& layer : kLayers) {
    const at::Tensor rows = GradientOfOutput(t, step).narrow(1, first, layer.rows).t();
    gradients.Set(fmt::format("{}.weight", layer.name), rows.mul(Input()));
    gradients.Set(fmt::format("{}.bias", layer.name), rows.flatten().clone());
    first += layer.rows;
  }
  return gradients;
}

void CodedBackward(Trial& t, Model& model, int64_t step) {
  const c10::Device device(t.device());
  const Value output = model.Forward({Value(Input().to(device))});
  model.BackwardFrom(output, GradientOfOutput(t, step).to(device));
}

void CodedStep(Trial& t, Model& model, Optimizer optimizer, int64_t step) {
  CodedBackward(t, model, step);
  optimizer.Step();
  model.ZeroGrad();
}

OptimizerOptions CodedAdam() { return {.lr = 0x1p-10, .beta1 = 0.5, .beta2 = 0.75}; }

void ExpectedAdamState::Step(const Dict& gradients) {
  for (const auto& [name, value] : gradients) {
    const at::Tensor& gradient = value.AsTensor();
    const Value* known = state_.Find(name);
    const auto before = [&](const char* moment) {
      return known ? known->AsDict().At(moment).AsTensor() : at::zeros_like(gradient);
    };
    const at::Tensor step = known ? known->AsDict().At("step").AsTensor().add(1) : at::scalar_tensor(1, at::kFloat);
    state_.Set(name, Dict{{"step", step},
                          {"exp_avg", before("exp_avg").mul(0.5).add(gradient.mul(0.5))},
                          {"exp_avg_sq", before("exp_avg_sq").mul(0.75).add(gradient.square().mul(0.25))}});
  }
}

Dict ExpectedAdamState::CompletedFor(const Dict& parameters) const {
  Dict completed;
  for (const auto& [name, value] : parameters) {
    if (const Value* known = state_.Find(name)) {
      completed.Set(name, *known);
      continue;
    }
    const at::Tensor zeros = at::zeros(GlobalShape(value), at::kFloat);
    completed.Set(name, Dict{{"step", at::scalar_tensor(1, at::kFloat)},
                             {"exp_avg", zeros},
                             {"exp_avg_sq", zeros.clone()}});
  }
  return completed;
}

std::string WholeFormOf(std::string_view wrapper) { return wrapper.starts_with("fsdp") ? "full" : "dsd_full"; }

Dict WholeStateByName(Trial& t, std::string_view form, const Dict& saved, const Dict& expected) {
  const Dict of_all = ForAllRanks(t, form, saved);
  const Dict state = form == "dsd_flat" ? StateOfFlat(of_all) : of_all.At("state").AsDict();
  return WholeDict(t, InOrderOf(expected, state).AsDict());
}

bool HasStateByName(Trial& t, std::string_view what, std::string_view form, const Dict& expected, const Dict& saved) {
  return SameState(t, what, expected, WholeStateByName(t, form, saved, expected));
}

}  // namespace shardcts::extended
