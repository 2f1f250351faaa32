// Models on the meta device, whose parameters a load replaces.
#include <ATen/ATen.h>

#include "suites/state_dict/allocated_memory.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

Dict StackArguments(int64_t width, int64_t layers) {
  return {{"sizes", ToValue(std::vector<int64_t>(layers + 1, width))}, {"bias", false}};
}

Model ShardedOnMeta(Trial& t, int64_t width, int64_t layers) {
  Model model = t.subject().Build("linear_stack", StackArguments(width, layers), "meta");
  for (int64_t layer = 0; layer < layers; ++layer) model.FullyShard(std::to_string(layer));
  model.FullyShard("");
  return model;
}

// Compares full values with those of the CPU model.
void ExpectValues(Trial& t, std::string_view check, const Dict& expected, const Dict& state_dict) {
  for (const auto& [name, value] : expected) {
    const Value whole = t.subject().To(t.subject().FullTensor(state_dict.At(name)), "cpu");
    ExpectEqual(t, check, ToString(name), value, whole);
  }
}

// Strict: every parameter of the model is a DTensor with its rows of the full tensor; none is on the meta device.
void ExpectShards(Trial& t, std::string_view check, const Model& model, int64_t width) {
  for (const auto& [key, value] : model.Parameters()) {
    const std::string name = ToString(key);
    if (!t.Strict(check, IsDTensor(name, value))) continue;
    const DTensor& dtensor = value.AsDTensor();
    t.Strict(check, IsParameter(name, value));
    t.Strict(check, Equal(name + ": placement", std::string("S(0)"), dtensor.placements.front().ToString()));
    t.Strict(check, Holds(!dtensor.local.is_meta(), name, "is on meta"));
    t.Strict(check, Equal(name + ": local shape", {width / t.world_size(), width}, dtensor.local.sizes().vec()));
  }
}

int64_t StorageBytes(const Model& model) {
  int64_t bytes = 0;
  for (const auto& [name, value] : model.Parameters()) {
    bytes += static_cast<int64_t>(LocalPart(value).storage().nbytes());
  }
  return bytes;
}

// Upstream's limit for its model of four layers of 10000 x 10000, for one of `model_bytes`.
int64_t Scaled(int64_t mebibytes, int64_t model_bytes) {
  constexpr int64_t kUpstreamModelBytes = int64_t{4} * 10000 * 10000 * 4;
  return (mebibytes << 20) * (model_bytes / 1000) / (kUpstreamModelBytes / 1000);
}

Verification IsAtMost(std::string_view what, int64_t limit, int64_t actual) {
  return Holds(actual <= limit, what, fmt::format("expected at most {}, actual {}", limit, actual));
}

}  // namespace

PORT(test_setting_meta_device_model) {
  constexpr int64_t kWidth = 4;
  constexpr int64_t kLayers = 2;
  t.subject().Seed(0);
  Model model = ShardedOnMeta(t, kWidth, kLayers);
  const Model cpu_model = t.subject().Build("linear_stack", StackArguments(kWidth, kLayers), "cpu");
  const Dict full = cpu_model.StateDict();
  t.NoError("C1", [&] { SetModelStateDict(model, full, {.full_state_dict = true, .strict = false}); });
  ExpectValues(t, "C2", GetModelStateDict(cpu_model), model.StateDict());
  ExpectShards(t, "C2", model, kWidth);
}

// Upstream's layers are 25 times as large; its limits are scaled accordingly. Shards are a quarter of the model, and a
// full tensor is as large: the limits leave room for that, and for 0.7 % more.
PORT(test_setting_meta_device_model_broadcasting_and_memory) {
  constexpr int64_t kWidth = 2000;
  constexpr int64_t kLayers = 4;
  constexpr int64_t kModelBytes = kLayers * kWidth * kWidth * 4;
  t.subject().Seed(0);
  Model model = ShardedOnMeta(t, kWidth, kLayers);
  const Model cpu_model = t.subject().Build("linear_stack", StackArguments(kWidth, kLayers), "cpu");
  const Dict full = cpu_model.StateDict();
  const StateDictOptions options{.full_state_dict = true, .strict = false, .broadcast_from_rank0 = true};
  const AllocatedBytes limits{.peak = Scaled(768, kModelBytes), .left = Scaled(384, kModelBytes)};
  const auto load = [&] { t.NoError("C1", [&] { SetModelStateDict(model, full, options); }); };
  AllocatedBytes allocated;
  std::optional<DeviceBytes> on_device;
  if (t.device() == "cpu") {
    allocated = CountAllocatedBytes(limits, load);
  } else if (on_device = CountDeviceBytes(t.device(), load); !on_device) {
    load();
  }
  ExpectValues(t, "C2", GetModelStateDict(cpu_model), model.StateDict());
  ExpectShards(t, "C2", model, kWidth);

  const int64_t shard_bytes = StorageBytes(model);
  t.Check("C3", IsAtMost("bytes of the shards' storage", limits.left, shard_bytes));
  t.Strict("C3", Equal("bytes of the shards' storage", kModelBytes / t.world_size(), shard_bytes));
  if (t.device() == "cpu") {
    t.Check("C3", IsAtMost("bytes that the load left allocated", limits.left, allocated.left));
    t.Check("C4", IsAtMost("bytes that the load allocated at once", limits.peak, allocated.peak));
  } else if (on_device) {
    t.Check("C3", IsAtMost("bytes of the device that the load left allocated", limits.left, on_device->left));
    // Upstream looks at what is reserved, whose segments do not scale with the model.
    t.Check("C4", IsAtMost("bytes of the device that the load allocated at once", limits.peak, on_device->peak));
  } else {
    t.DeviceLimited("C4", "PyTorch has no counters of this device's memory");
  }
}

PORT(test_multi_device_load_model_state_dict) {
  t.subject().Seed(0);
  Model with_meta = t.subject().Build("linear_stack", StackArguments(4, 2), t.device());
  Model without_meta = t.subject().Build("linear_stack", StackArguments(4, 2), t.device());
  MoveSubmodule(with_meta, "0", "meta");
  MoveSubmodule(without_meta, "0", "cpu");
  const Model source = t.subject().Build("linear_stack", StackArguments(4, 2), "cpu");
  const Dict full = source.StateDict();
  const StateDictOptions options{.full_state_dict = true, .strict = false, .broadcast_from_rank0 = true};
  t.NoError("C1", [&] { SetModelStateDict(with_meta, full, options); });
  for (const auto& [key, value] : with_meta.Parameters()) {
    const std::string name = ToString(key);
    const at::Tensor& tensor = value.AsTensor();
    const std::string device = c10::DeviceTypeName(tensor.device().type(), /*lower_case=*/true);
    if (!t.Strict("C1", Equal(name + ": device", t.device(), device))) continue;
    t.Strict("C1", SameValue(name, full.At(key), t.subject().To(tensor.detach(), "cpu")));
  }
  if (t.device() == "cpu") return t.DeviceLimited("C2", "needs a device type beside the CPU");
  t.Raises("C2", "ValueError", "Multiple devices found", [&] { SetModelStateDict(without_meta, full, options); });
}

}  // namespace shardcts::state_dict
