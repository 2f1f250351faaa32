// What the tests train: upstream's models with their optimizers, sharded, and unsharded twins whose optimizer state says
// what is right. *Collective* wherever a model is touched.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "contract/fsdp_optim.h"
#include "rank/trial.h"

namespace shardcts::fsdp_optim_state {

enum class ModelKind { kNested, kTransformer };

// A model with its optimizer, Adam with lr 0.01.
struct Training {
  ModelKind kind = ModelKind::kNested;
  Model model;
  Optimizer optimizer;
  std::vector<ParameterGroup> groups;  // what the optimizer was made of
  std::optional<List> optim_input;     // the same as the deprecated argument; upstream has none for the transformer
};

// How a model is trained. Both groups of `multiple_groups` leave the root's bias out, the second has weight decay 0.9.
struct TrainingOptions {
  ModelKind kind = ModelKind::kNested;
  bool wrap = true;
  bool wrap_alt = false;             // nested: other units, none of them where wrap has one
  bool multiple_groups = false;      // nested
  bool diff_optim_inputs = false;    // nested: odd ranks give the parameters of each group in reverse
  bool use_orig_params = false;
  std::optional<ProcessGroup> group;
};

Training NewTraining(Trial& t, const TrainingOptions& options);

// NestedBlocks with upstream's units, of which the last may ignore modules.
Model NestedModel(Trial& t, const TrainingOptions& options, Dict model_arguments = {},
                  const std::vector<std::string>& ignored_in_last_block = {});

// How often upstream trains a model, but for tests that say otherwise.
constexpr int kIterations = 3;

// Upstream's _step_model: the same data on every rank, and again in each call. Returns the losses.
std::vector<double> Train(Trial& t, Training& training, int iterations);

// One parameter group of all parameters in the model's order.
std::vector<ParameterGroup> AllParameters(const Model& model);

// The state of an optimizer over an unsharded model under the parameters' names: {name: {state name: value}}, copied.
Dict StateByName(Trial& t, const Optimizer& optimizer, const std::vector<ParameterGroup>& groups);
// The unsharded twin of a training with these options, trained alike.
struct Twin {
  Training training;
  std::vector<double> losses;
  Dict state;  // by name
};
Twin TrainTwin(Trial& t, const TrainingOptions& options, int iterations);

// What the deprecated functions are told about the optimizer: itself, or what it was made of. *Local*.
OptimizerLayout LayoutOf(const Training& training, bool use_optim_input);
// With the deprecated function for the test's parameter "state_dict_type", as its parameter "use_optim_input" says.
Dict SaveWithLegacyFunction(Trial& t, const Training& training, bool rank0_only);

// A deep copy. *Local*.
Dict Cloned(Trial& t, const Dict& state_dict);

// Uniform in [0, 1) or standard normal; the same on every rank and in every implementation. `number` tells the inputs of
// a test apart.
at::Tensor UniformInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);
at::Tensor NormalInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);

// Forward, backward of the output's sum, and a step; gradients add up over calls.
void StepOnSum(Model& model, Optimizer& optimizer, const at::Tensor& input);
// Forward, backward from the output itself, and a step.
void StepOnOutput(Model& model, Optimizer& optimizer, const at::Tensor& input);

}  // namespace shardcts::fsdp_optim_state
