// The models that the tests train: upstream's models with their optimizers, sharded, and unsharded reference models
// whose optimizer state is the expected one. *Collective* wherever a model is used.
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
  std::vector<ParameterGroup> groups;  // the groups that the optimizer was created with
  std::optional<List> optim_input;     // the same as a deprecated argument; upstream has none for the transformer
};

// How a model is trained. Both groups of `multiple_groups` omit the root's bias; the second has weight decay 0.9.
struct TrainingOptions {
  ModelKind kind = ModelKind::kNested;
  bool wrap = true;
  bool wrap_alt = false;             // nested: units at other modules than with `wrap`, none in common
  bool multiple_groups = false;      // nested
  bool diff_optim_inputs = false;    // nested: odd ranks pass the parameters of each group in reverse order
  bool use_orig_params = false;
  std::optional<ProcessGroup> group;
};

Training NewTraining(Trial& t, const TrainingOptions& options);

// NestedBlocks with upstream's units; the last one may ignore modules.
Model NestedModel(Trial& t, const TrainingOptions& options, Dict model_arguments = {},
                  const std::vector<std::string>& ignored_in_last_block = {});

// The number of training steps, unless a test says otherwise.
constexpr int kIterations = 3;

// Upstream's _step_model: the same data on every rank and in each call. Returns the losses.
std::vector<double> Train(Trial& t, Training& training, int iterations);

// One parameter group of all parameters in the model's order.
std::vector<ParameterGroup> AllParameters(const Model& model);

// The state of an optimizer over an unsharded model by parameter names: {name: {state name: value}}, copied.
Dict StateByName(Trial& t, const Optimizer& optimizer, const std::vector<ParameterGroup>& groups);
// The unsharded reference model of a training with these options, trained in the same way.
struct Twin {
  Training training;
  std::vector<double> losses;
  Dict state;  // by name
};
Twin TrainTwin(Trial& t, const TrainingOptions& options, int iterations);

// What is passed to the deprecated functions to describe the optimizer: itself, or the groups that it was created with.
// *Local*.
OptimizerLayout LayoutOf(const Training& training, bool use_optim_input);
// Saves with the deprecated function for the test's parameter "state_dict_type"; passes the test's "use_optim_input".
Dict SaveWithLegacyFunction(Trial& t, const Training& training, bool rank0_only);

// A deep copy. *Local*.
Dict Cloned(Trial& t, const Dict& state_dict);

// Uniform in [0, 1) or standard normal; the same on every rank and in every implementation. `number` distinguishes the
// inputs of a test.
at::Tensor UniformInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);
at::Tensor NormalInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);

// Forward, backward from the sum of the output, and a step; gradients accumulate over calls.
void StepOnSum(Model& model, Optimizer& optimizer, const at::Tensor& input);
// Forward, backward from the output itself, and a step.
void StepOnOutput(Model& model, Optimizer& optimizer, const at::Tensor& input);

}  // namespace shardcts::fsdp_optim_state
