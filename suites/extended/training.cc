#include "suites/extended/training.h"

#include <ATen/ATen.h>

#include "rank/session.h"
#include "rank/whole.h"
#include "suites/extended/coded.h"
#include "suites/extended/forms.h"

namespace shardcts::extended {
namespace {

constexpr int64_t kRows = 60;
constexpr int64_t kInputWidth = 3;

bool IsFsdp1(std::string_view wrapper) { return wrapper.starts_with("fsdp"); }

// (rows, width) with elements (code % modulus - modulus / 2) / 16; no two steps are alike.
at::Tensor BatchRows(int64_t step, int64_t width, int64_t modulus, BatchPart part) {
  if (kRows % part.count != 0) throw HarnessError(fmt::format("a batch of {} rows in {} parts", kRows, part.count));
  const at::Tensor codes = at::arange(kRows * width, at::kLong) * (step + 2) + 5 * step;
  const at::Tensor rows = (codes.remainder(modulus) - modulus / 2).to(at::kFloat).div(16).reshape({kRows, width});
  return rows.narrow(0, part.index * (kRows / part.count), kRows / part.count);
}

double LargestOf(const Dict& tensors) {
  double largest = 0;
  for (const auto& [name, value] : tensors) {
    largest = std::max(largest, value.AsTensor().abs().max().item<double>());
  }
  return largest;
}

}  // namespace

ModelSpec TrainedStack() {
  return {.name = "linear_stack",
          .args = {{"sizes", ToValue(std::vector<int64_t>{kInputWidth, 8, 5, 4})}},
          .units = {"0", "1"},
          .plan = {{"0", "colwise"}, {"1", "rowwise"}}};
}

Dict SmallValuesLike(const Dict& tensors) {
  Dict values;
  for (const auto& [name, value] : CodedLike(tensors)) values.Set(name, value.AsTensor().div(32768).sub(0.5));
  return values;
}

Model BuildTrained(Trial& t, const ModelSpec& spec, std::string_view wrapper) {
  Model model = BuildCoded(t, spec);
  model.SetValues(SmallValuesLike(model.Parameters()));
  Wrap(t, model, spec, wrapper);
  return model;
}

OptimizerOptions TrainingOptions(std::string_view kind, double lr_factor) {
  OptimizerOptions options = {.lr = lr_factor / 16};
  if (kind == "sgd") options.momentum = 0.5;
  if (kind == "adamw") options.weight_decay = 0.0625;
  return options;
}

BatchPart PartOf(const Trial& t, std::string_view wrapper) {
  if (wrapper == "tp" || wrapper == "plain") return {};
  const int64_t per_part = wrapper.ends_with("_tp") ? 2 : 1;
  return {t.rank() / per_part, t.world_size() / per_part};
}

at::Tensor BatchInput(int64_t step, int64_t width, BatchPart part) { return BatchRows(step, width, 13, part); }

at::Tensor BatchGradient(int64_t step, int64_t width, BatchPart part) {
  return BatchRows(step, width, 7, part) * static_cast<double>(part.count);
}

void Accumulate(Trial& t, Model& model, int64_t step, BatchPart part) {
  const c10::Device device(t.device());
  const Value output = model.Forward({Value(BatchInput(step, kInputWidth, part).to(device))});
  model.BackwardFrom(output, BatchGradient(step, output.AsTensor().size(1), part).to(device));
}

void Train(Trial& t, Model& model, std::vector<Optimizer> optimizers, int64_t first, int64_t last, BatchPart part) {
  for (int64_t step = first; step < last; ++step) {
    Accumulate(t, model, step, part);
    for (Optimizer& optimizer : optimizers) optimizer.Step();
    model.ZeroGrad();
  }
}

void Train(Twin& twin, TwinOptimizer& optimizer, int64_t first, int64_t last) {
  for (int64_t step = first; step < last; ++step) {
    const at::Tensor output = twin.Forward({BatchInput(step, kInputWidth)});
    output.backward(BatchGradient(step, output.size(1)));
    optimizer.Step();
    twin.ZeroGrad();
  }
}

Dict TrainedParameters(Model& model, std::string_view wrapper) {
  return IsFsdp1(wrapper) ? GetState(model, "full") : model.Parameters();
}

void SameAsTwin(Trial& t, std::string_view what, const Twin& twin, int64_t steps, const Dict& parameters) {
  const Dict expected = twin.Parameters();
  const Dict whole = WholeDict(t, parameters);
  t.Rule(SameNames(fmt::format("{}: names", what), expected.Keys(), whole.Keys()));
  CompareOptions options;
  options.tolerance.atol = 8.0 * static_cast<double>(steps * t.world_size()) * 0x1p-24 * LargestOf(expected);
  for (const auto& [name, value] : expected) {
    if (!whole.Contains(name)) continue;
    t.Rule(SameValue(fmt::format("{}: {}", what, ToString(name)), value, whole.At(name), options));
  }
}

Dict TrainedState(Model& model, const Optimizer& optimizer, std::string_view wrapper) {
  return IsFsdp1(wrapper) ? GetOptimizerState(model, {optimizer}, "full") : optimizer.StateDict();
}

}  // namespace shardcts::extended
