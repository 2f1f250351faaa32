// Shared by seven of upstream's tests: trains a plain model and a wrapped copy in the same way, saves the copy through
// the distributed state-dict API, loads the result into a new copy, saves again, and again through patched methods. The
// saved values must equal the state dicts of the plain reference model. *Collective*.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "contract/dsd.h"
#include "rank/trial.h"

namespace shardcts::state_dict {

// Learning rate of upstream's optimizers in these tests.
constexpr double kLearningRate = 1e-4;

struct SaveLoadCase {
  std::function<Model()> build;        // a plain model, with new values each time
  std::function<void(Model&)> wrap;    // wraps a copy of it
  std::string optimizer = "adam";
  bool flatten_optimizer = false;
  bool distributed = true;             // false: no process group
  // Parameters that are frozen for the check of ignore_frozen_params, and the names that such a state dict still has.
  std::vector<std::string> frozen_prefixes = {"u1.", "u2."};
  std::vector<std::string> left_names = {"p", "buffer", "l.weight", "l.bias"};
  std::vector<std::string> optional_names;  // may be present or absent
  // Which parameters share an optimizer: names with the same result do. FSDP1 requires all parameters of a unit in one.
  std::function<std::string(const std::string& name)> optimizer_of = [](const std::string& name) { return name; };
};

// Checks C1 to C51.
void SaveAndLoad(Trial& t, const SaveLoadCase& save_load);

// CompositeParamModel on the device under test.
Model CompositeParam(Trial& t, Dict arguments = {});

// Uniform in [0, 1) or standard normal; the same on every rank and in every implementation. `number` distinguishes the
// inputs of a test.
at::Tensor UniformInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);
at::Tensor NormalInput(const Trial& t, at::IntArrayRef shape, int64_t number = 0);

// Forward, backward from the sum of the output, and a step; gradients accumulate over calls.
void StepOnSum(Model& model, Optimizer& optimizer, const at::Tensor& input);

// The parameter name for each id of an optimizer over all parameters of the model.
std::vector<std::string> NamesOf(const Model& model);

}  // namespace shardcts::state_dict
