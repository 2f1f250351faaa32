// The engine of seven of upstream's tests: train a plain model and a wrapped copy alike, save the copy through the
// distributed state-dict API, load that into a fresh one, save again, and once more through patched methods. What is
// saved must be what the plain twin's own state dicts say. *Collective*.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "contract/dsd.h"
#include "rank/trial.h"

namespace shardcts::state_dict {

// Upstream's optimizers have lr 1e-4 there.
constexpr double kLearningRate = 1e-4;

struct SaveLoadCase {
  std::function<Model()> build;        // a plain model, with new values each time
  std::function<void(Model&)> wrap;    // what makes a copy of it distributed
  std::string optimizer = "adam";
  bool flatten_optimizer = false;
  bool distributed = true;             // false: no process group
  // What is frozen for the check of ignore_frozen_params, and what such a state dict has nevertheless.
  std::vector<std::string> frozen_prefixes = {"u1.", "u2."};
  std::vector<std::string> left_names = {"p", "buffer", "l.weight", "l.bias"};
  std::vector<std::string> optional_names;  // left open
  // Which parameters have an optimizer together: names with the same result. FSDP1 wants all of a unit in one.
  std::function<std::string(const std::string& name)> optimizer_of = [](const std::string& name) { return name; };
};

// Checks C1 to C51.
void SaveAndLoad(Trial& t, const SaveLoadCase& save_load);

// CompositeParamModel on the device under test.
Model CompositeParam(Trial& t, Dict arguments = {});

// Uniform in [0, 1) or standard normal; the same on every rank and in every implementation. `number` tells the inputs
// of a test apart.
at::Tensor UniformInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);
at::Tensor NormalInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);

// Forward, backward of the output's sum, and a step; gradients add up over calls.
void StepOnSum(Model& model, Optimizer& optimizer, const at::Tensor& input);

// The name of the parameter behind each id of an optimizer over all of the model's parameters.
std::vector<std::string> NamesOf(const Model& model);

}  // namespace shardcts::state_dict
