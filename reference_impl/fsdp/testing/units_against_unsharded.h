// For tests of FSDP1: a model in units and its unsharded reference model.
#pragma once

#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>

#include <map>

#include "fsdp/summon.h"
#include "fsdp/wrap.h"
#include "fully_shard/testing/sharded_training.h"
#include "tensor/sharded_tensor.h"

namespace shardcts::reference {

inline FsdpOptions OverTheWorld() {
  FsdpOptions options;
  options.shard_group = std::shared_ptr<Communicator>(&World(), [](Communicator*) {});
  return options;
}

inline std::shared_ptr<FsdpModule> Wrap(models::ModulePtr module, const FsdpOptions& options) {
  std::vector<std::string> warnings;
  return WrapFsdp(std::move(module), options, warnings);
}

// Wraps the children of these names, then the root.
inline std::shared_ptr<FsdpModule> WrapAll(const models::ModulePtr& root, const std::vector<std::string>& children,
                                           const FsdpOptions& options) {
  for (const std::string& name : children) root->ReplaceChild(name, Wrap(root->child(name), options));
  return Wrap(root, options);
}

// The unit at the children "0" and "2" of a nested_mlp, and the root over the rest: uneven over 2 and 4 ranks.
struct ModelAndTwin {
  std::shared_ptr<FsdpModule> model;
  models::ModulePtr twin;
};
inline ModelAndTwin NestedModel(const FsdpOptions& options) {
  const models::ModulePtr plain = BuildZoo("nested_mlp", {{"dim", 3}});
  const models::ModulePtr twin = models::DeepCopy(*plain);
  return {WrapAll(plain, {"0", "2"}, options), twin};
}

inline std::vector<std::string> KeysOf(const StateDict& state_dict) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : state_dict) keys.push_back(key);
  return keys;
}

inline std::map<std::string, at::Tensor> PlainTensors(const StateDict& state_dict) {
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [key, value] : state_dict) tensors[key] = std::get<at::Tensor>(value);
  return tensors;
}

inline std::map<std::string, at::Tensor> TwinTensors(models::Module& twin) { return PlainTensors(SaveStateDict(twin)); }

// *Collective*. Names, shapes and values of the full parameters.
inline void ExpectParametersOf(models::Module& model, models::Module& twin, double tolerance = 0) {
  const SummonScope scope(model, {});
  const auto actual = models::NamedParameters(model, false);
  const auto expected = models::NamedParameters(twin, false);
  ASSERT_EQ(actual.size(), expected.size());
  for (size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].first, expected[i].first);
    ASSERT_EQ(actual[i].second->value.sizes(), expected[i].second->value.sizes()) << actual[i].first;
    EXPECT_TRUE(at::allclose(actual[i].second->value, expected[i].second->value, tolerance, tolerance))
        << actual[i].first;
  }
}

// *Collective*. Every parameter becomes `value`.
inline void FillParameters(models::Module& model, double value) {
  const SummonScope scope(model, {});
  at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : models::NamedParameters(model)) parameter->value.fill_(value);
}

inline void ExpectEqualTensors(const std::map<std::string, at::Tensor>& actual,
                               const std::map<std::string, at::Tensor>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, value] : expected) {
    ASSERT_TRUE(actual.contains(name)) << name;
    EXPECT_TRUE(at::equal(actual.at(name), value)) << name;
  }
}

}  // namespace shardcts::reference
