// Dtypes and devices: where entries and loaded state are.
#include "suites/extended/exact.h"
#include "suites/extended/forms.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"

#include "rank/whole.h"

namespace shardcts::extended {
namespace {

std::vector<at::Tensor> LocalTensorsOf(const Value& value) {
  const auto* sharded = value.TryAs<ShardedTensor>();
  if (!sharded) return {LocalPart(value)};
  std::vector<at::Tensor> tensors;
  for (const LocalShard& shard : sharded->local_shards) tensors.push_back(shard.tensor);
  return tensors;
}

// Every tensor, but counters without dimensions, which stay on the CPU, is on this device: on the CPU where `device` is
// "cpu", else on this rank's own.
bool AreOn(Trial& t, const std::string& what, const std::string& device, at::Device own, const Dict& tree) {
  bool all = true;
  ForEachTensor(what, Value(tree), [&](const std::string& path, const Value& value) {
    for (const at::Tensor& tensor : LocalTensorsOf(value)) {
      if (tensor.dim() == 0) continue;
      const at::Device expected = device == "cpu" ? at::Device(at::kCPU) : own;
      all = t.Rule(Equal(path + ": device", expected.str(), tensor.device().str())) && all;
    }
  });
  return all;
}

}  // namespace

RULE(DT9) {
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  Model model = BuildExact(t, 0, wrapper);
  const at::Device own = LocalPart(model.Parameters().begin()->value).device();
  t.Rule(Equal("type of the model's device", t.device(), c10::DeviceTypeName(own.type(), /*lower_case=*/true)));
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "adam");
  SetOptimizerState(model, {optimizer}, wrapper.starts_with("fsdp") ? "full" : "dsd_full",
                    CodedAdamStateDict(ExactValues(0)));
  const bool offloads = form == "dsd_offload";
  const Dict values = GetState(model, form);
  const Dict state = GetOptimizerState(model, {optimizer}, form);
  if (!AreOn(t, "model", offloads ? "cpu" : t.device(), own, values)) return;
  // FSDP1's own forms offload optimizer state by default.
  const bool state_offloads = offloads || form == "full" || form == "sharded";
  AreOn(t, "optimizer", state_offloads ? "cpu" : t.device(), own, state);

  Model loaded = BuildExact(t, 1, wrapper);
  const Optimizer of_loaded = t.subject().CreateOptimizer(loaded, "adam");
  const std::string loading = offloads ? "dsd_broadcast" : form;
  SetState(loaded, loading, values);
  SetOptimizerState(loaded, {of_loaded}, loading, state);
  AreOn(t, "loaded model", t.device(), own, loaded.Parameters());
  AreOn(t, "loaded optimizer", t.device(), own, of_loaded.StateDict().At("state").AsDict());
}

}  // namespace shardcts::extended
