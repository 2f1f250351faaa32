// Options that determine where values are and which ranks have them.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

constexpr size_t kSavedEntries = 16;
constexpr size_t kSavedParameters = 15;

std::string DeviceOf(const at::Tensor& tensor) {
  return c10::DeviceTypeName(tensor.device().type(), /*lower_case=*/true);
}

Verification IsOnCpu(const std::string& path, const Value& value) {
  if (const ShardedTensor* sharded = value.TryAs<ShardedTensor>()) {
    if (sharded->local_shards.empty()) return {};
    return Equal(path + ": device", std::string("cpu"), DeviceOf(sharded->local_shards.front().tensor));
  }
  return Equal(path + ": device", std::string("cpu"), DeviceOf(LocalPart(value)));
}

void ExpectOnCpu(Trial& t, std::string_view check, const Dict& tree) {
  ForEachTensor("", tree, [&](const std::string& path, const Value& value) { t.Check(check, IsOnCpu(path, value)); });
}

void ExpectWhole(Trial& t, std::string_view check, const Dict& tree) {
  ForEachTensor("", tree,
                [&](const std::string& path, const Value& value) { t.Check(check, IsPlainTensor(path, value)); });
}

// Strict: the values of the model before it was wrapped, and the initial state of an optimizer that was never stepped.
void ExpectUntrained(Trial& t, std::string_view model_check, std::string_view optimizer_check, const Model& plain,
                     const Value& own, const ModelAndOptimizerState& whole) {
  const Value saved = t.subject().To(whole.model, "cpu");
  t.Strict(model_check, AreIdentical("model", own, saved));
  const Dict& state = StateOf(whole.optimizer);
  Dict on_cpu;
  for (const auto& [name, entry] : state) on_cpu.Set(name, t.subject().To(entry, "cpu"));
  ExpectInitialState(t, optimizer_check, plain.Parameters(), {{"state", on_cpu}});
  const List& groups = GroupsOf(whole.optimizer);
  if (!t.Strict(optimizer_check, Equal("parameter groups", size_t{1}, groups.size()))) return;
  t.Strict(optimizer_check, SameNames("params", NamesOf(plain), groups.front().AsDict().At("params").AsStrings()));
}

}  // namespace

PORT(test_cpu_offload_full_state_dict) {
  t.subject().Seed(1234);
  const Model plain = CompositeParam(t);
  const Value own = t.subject().To(plain.StateDict(), "cpu");
  Model model = plain.Copy();
  FsdpOptions fsdp;
  fsdp.device_mesh = t.subject().InitMesh({t.world_size()});
  fsdp.auto_wrap_policy = AutoWrapPolicy::Classes({"UnitModule"});
  fsdp.use_orig_params = true;
  WrapFsdp(model, "", fsdp);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, t.TextParam("optimizer"), {.lr = kLearningRate});
  const auto save = [&](const StateDictOptions& options) {
    ModelAndOptimizerState saved;
    t.NoError("C9", [&] { saved = GetStateDict(model, {optimizer}, options); });
    return saved;
  };

  const ModelAndOptimizerState offloaded = save({.cpu_offload = true});
  ExpectOnCpu(t, "C1", offloaded.model);
  ExpectOnCpu(t, "C2", offloaded.optimizer);

  const ModelAndOptimizerState whole = save({.full_state_dict = true});
  ExpectWhole(t, "C3", whole.model);
  ExpectWhole(t, "C4", whole.optimizer);
  ExpectUntrained(t, "C3", "C4", plain, own, whole);

  const ModelAndOptimizerState of_rank0 = save({.full_state_dict = true, .cpu_offload = true});
  if (t.rank() > 0) {
    t.Check("C7", SameNames("entries on this rank", {}, of_rank0.model.Keys()));
    t.Check("C8", SameNames("members on this rank", {}, of_rank0.optimizer.Keys()));
    ExpectWhole(t, "C3", of_rank0.model);
    return;
  }
  ExpectOnCpu(t, "C5", of_rank0.model);
  t.Strict("C5", Equal("entries", kSavedEntries, of_rank0.model.size()));
  if (!t.Strict("C6", SameNameSet("members", {"state", "param_groups"}, of_rank0.optimizer.Keys()))) return;
  ExpectOnCpu(t, "C6", of_rank0.optimizer);
  t.Strict("C6", Equal("parameters with state", kSavedParameters, StateOf(of_rank0.optimizer).size()));
  ExpectUntrained(t, "C5", "C6", plain, own, of_rank0);
}

}  // namespace shardcts::state_dict
