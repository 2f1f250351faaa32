#include "suites/fsdp_optim_state/training.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>

namespace shardcts::fsdp_optim_state {
namespace {

const std::vector<std::string> kUnits = {"block1.bias_module0",   "block1",   "block2.1.bias_module0",
                                         "block2.1.bias_module1", "block2.1", "block2.2"};
const std::vector<std::string> kOtherUnits = {"block0.bias_module0", "block0"};
constexpr std::string_view kLastBlock = "block2.2";

at::Generator GeneratorFor(int64_t number) { return at::detail::createCPUGenerator(static_cast<uint64_t>(number)); }

void AddParametersBelow(const std::vector<std::string>& names, std::string_view prefix,
                        std::vector<std::string>& parameters) {
  std::ranges::copy_if(names, std::back_inserter(parameters),
                       [&](const std::string& name) { return name.starts_with(prefix); });
}

std::vector<ParameterGroup> TwoGroups(const Model& model) {
  const std::vector<std::string> names = model.Parameters().Keys();
  ParameterGroup first, second;
  AddParametersBelow(names, "block1.", first.parameters);
  AddParametersBelow(names, "block2.", second.parameters);
  AddParametersBelow(names, "block0.", second.parameters);
  second.options.weight_decay = 0.9;
  return {first, second};
}

Model TransformerModel(Trial& t, const TrainingOptions& options) {
  Model model = t.subject().Build("transformer_with_shared_params", {{"deterministic", true}}, t.device());
  if (!options.wrap) return model;
  FsdpOptions fsdp;
  fsdp.process_group = options.group;
  fsdp.auto_wrap_policy = AutoWrapPolicy::Classes({"TransformerEncoderLayer", "TransformerDecoderLayer"});
  WrapFsdp(model, "", fsdp);
  return model;
}

Training TransformerTraining(Trial& t, const TrainingOptions& options) {
  Model model = TransformerModel(t, options);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 0.01});
  const std::vector<ParameterGroup> groups = AllParameters(model);
  return {ModelKind::kTransformer, model, optimizer, groups, std::nullopt};
}

Training NestedTraining(Trial& t, const TrainingOptions& options) {
  Model model = NestedModel(t, options);
  std::vector<ParameterGroup> groups = options.multiple_groups ? TwoGroups(model) : AllParameters(model);
  if (options.diff_optim_inputs && t.rank() % 2 == 1) {
    for (ParameterGroup& group : groups) std::ranges::reverse(group.parameters);
  }
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 0.01}, groups);
  List input = options.multiple_groups ? OptimInput(groups) : OptimInput(groups.front().parameters);
  return {ModelKind::kNested, model, optimizer, groups, std::move(input)};
}

// Forward, loss and backward of one iteration; the loss.
double NestedIteration(Trial& t, Model& model, const at::Tensor& input) {
  const Value output = model.Forward({input});
  model.Backward(output);
  return output.AsTensor().detach().sum().item<double>();
}

// The loss is the cross entropy of the logits against the target tokens, summed. Its gradient: softmax minus one-hot.
double TransformerIteration(Trial& t, Model& model) {
  const auto tokens = [&](int64_t rows) {
    return at::arange(rows * 2, at::kLong).reshape({rows, 2}).to(c10::Device(t.device()));
  };
  const at::Tensor target = tokens(4);
  const Value output = model.Forward({tokens(6), target});
  const at::Tensor logits = output.AsTensor().detach();
  const at::Tensor gradient = at::softmax(logits, -1) - at::one_hot(target, logits.size(-1));
  model.BackwardFrom(output, gradient);
  return at::cross_entropy_loss(logits.flatten(0, -2), target.flatten(), {}, at::Reduction::Sum).item<double>();
}

}  // namespace

at::Tensor UniformInput(const Trial& t, at::IntArrayRef shape, int64_t number) {
  return at::rand(shape, GeneratorFor(number), at::kFloat).to(c10::Device(t.device()));
}

at::Tensor NormalInput(const Trial& t, at::IntArrayRef shape, int64_t number) {
  return at::randn(shape, GeneratorFor(number), at::kFloat).to(c10::Device(t.device()));
}

Model NestedModel(Trial& t, const TrainingOptions& options, Dict model_arguments,
                  const std::vector<std::string>& ignored_in_last_block) {
  Model model = t.subject().Build("nested_blocks", std::move(model_arguments), t.device());
  if (!options.wrap) return model;
  for (const std::string& path : options.wrap_alt ? kOtherUnits : kUnits) {
    FsdpOptions fsdp;
    fsdp.process_group = options.group;
    if (options.use_orig_params) fsdp.use_orig_params = true;
    if (path == kLastBlock) fsdp.ignored_modules = ignored_in_last_block;
    WrapFsdp(model, path, fsdp);
  }
  return model;
}

Training NewTraining(Trial& t, const TrainingOptions& options) {
  return options.kind == ModelKind::kNested ? NestedTraining(t, options) : TransformerTraining(t, options);
}

std::vector<double> Train(Trial& t, Training& training, int iterations) {
  std::vector<double> losses;
  for (int i = 0; i < iterations; ++i) {
    training.optimizer.ZeroGrad();
    losses.push_back(training.kind == ModelKind::kNested
                         ? NestedIteration(t, training.model, NormalInput(t, {8, 5}, i))
                         : TransformerIteration(t, training.model));
    training.optimizer.Step();
  }
  return losses;
}

std::vector<ParameterGroup> AllParameters(const Model& model) { return {{model.Parameters().Keys(), {}}}; }

OptimizerLayout LayoutOf(const Training& training, bool use_optim_input) {
  if (use_optim_input) return {.optim_input = training.optim_input};
  return {.optimizer = &training.optimizer};
}

Dict SaveWithLegacyFunction(Trial& t, const Training& training, bool rank0_only) {
  if (t.TextParam("state_dict_type") == "SHARDED") return ShardedOptimStateDict(training.model, training.optimizer);
  FullOptimOptions options{.rank0_only = rank0_only};
  if (t.BoolParam("use_optim_input")) options.optim_input = training.optim_input;
  return FullOptimStateDict(training.model, training.optimizer, options);
}

Dict Cloned(Trial& t, const Dict& state_dict) {
  const Value copy = t.subject().Clone(state_dict);
  return copy.AsDict();
}

Dict StateByName(Trial& t, const Optimizer& optimizer, const std::vector<ParameterGroup>& groups) {
  const Dict state_dict = Cloned(t, optimizer.StateDict());
  const Dict& state = state_dict.At("state").AsDict();
  Dict by_name;
  int64_t id = 0;
  for (const ParameterGroup& group : groups) {
    for (const std::string& name : group.parameters) {
      if (const Value* found = state.Find(id++)) by_name.Set(name, *found);
    }
  }
  return by_name;
}

Twin TrainTwin(Trial& t, const TrainingOptions& options, int iterations) {
  Training training = NewTraining(t, {.kind = options.kind, .wrap = false, .multiple_groups = options.multiple_groups});
  std::vector<double> losses = Train(t, training, iterations);
  Dict state = StateByName(t, training.optimizer, training.groups);
  return {std::move(training), std::move(losses), std::move(state)};
}

void StepOnSum(Model& model, Optimizer& optimizer, const at::Tensor& input) {
  model.Backward(model.Forward({input}));
  optimizer.Step();
}

void StepOnOutput(Model& model, Optimizer& optimizer, const at::Tensor& input) {
  const Value output = model.Forward({input});
  model.BackwardFrom(output, output.AsTensor().detach());
  optimizer.Step();
}

}  // namespace shardcts::fsdp_optim_state
