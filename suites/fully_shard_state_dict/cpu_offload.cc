#include <ATen/ATen.h>

#include "rank/layout.h"
#include "rank/trial.h"
#include "suites/fully_shard_state_dict/expected_layout.h"
#include "suites/fully_shard_state_dict/ports.h"

namespace shardcts::fully_shard_state_dict {
namespace {

const std::vector<std::string> kNames = {"0.weight", "1.weight"};

// Loads one parameter; the others do not change.
void LoadOne(Trial& t, Model& model, size_t index, const Value& value) {
  const std::string& name = kNames[index];
  LoadResult result;
  t.NoError("C1", [&] { result = model.LoadStateDict(Dict{{name, value}}, {.strict = false, .assign = true}); });
  t.Strict("C1", SameNames("missing keys", {kNames[1 - index]}, result.missing_keys));
  t.Strict("C1", SameNames("unexpected keys", {}, result.unexpected_keys));
  const Dict parameters = model.Parameters();
  for (size_t i = 0; i < kNames.size(); ++i) {
    const Value& actual = parameters.At(kNames[i]);
    if (i > index) {
      t.Strict("C1", Holds(LocalPart(actual).is_meta(), kNames[i],
                           "expected to be on meta still, actual " + ToString(actual)));
    } else if (i == index) {
      t.Strict("C1", SameValue(kNames[i] + " after load", LocalPart(value), LocalPart(actual)));
    }
  }
}

void CheckOffloaded(Trial& t, const Dict& state_dict, const std::vector<at::Tensor>& loaded, bool pin_memory) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    const Value& actual = state_dict.At(kNames[i]);
    t.Check("C4", Holds(LocalPart(actual).device().is_cpu(), kNames[i], "expected on cpu, actual " + ToString(actual)));
    t.Strict("C4", HasLayout(kNames[i], WorldMesh(t.device(), {t.world_size()}, {}), {Placement::Shard(0)}, actual));
    const at::Tensor slice = OwnSlice(t, loaded[i], actual.AsDTensor());
    t.Strict("C4", SameValue(kNames[i] + " after forward", slice, LocalPart(actual)));
    if (pin_memory && t.device() != "cpu") {  // without an accelerator no memory can be pinned
      t.Strict("C4", Holds(LocalPart(actual).is_pinned(), kNames[i], "expected in pinned memory"));
    }
  }
}

}  // namespace

PORT(test_dp_state_dict_cpu_offload) {
  const bool pin_memory = t.BoolParam("pin_memory");
  const bool cpu_state_dict = t.BoolParam("cpu_state_dict");
  t.subject().Seed(42);
  Model model = t.subject().Build("linear_stack", {{"sizes", List{4, 4, 4}}, {"bias", false}}, "meta");
  for (const char* path : {"0", "1", ""}) model.FullyShard(path, {.offload_policy = CpuOffloadPolicy{pin_memory}});

  std::vector<at::Tensor> loaded;
  for (size_t i = 0; i < kNames.size(); ++i) {
    const Value parameter = model.Parameters().At(kNames[i]);
    loaded.push_back(PositionCoded(GlobalShape(parameter), static_cast<int64_t>(i)));
    Value value =
        t.subject().Distribute(loaded.back(), t.subject().MeshOf(parameter), parameter.AsDTensor().placements);
    if (cpu_state_dict) value = t.subject().To(value, "cpu");
    LoadOne(t, model, i, value);
  }

  const at::Tensor input = at::linspace(0, 1, 16).reshape({4, 4}).to(c10::Device(t.device()));
  if (!cpu_state_dict && t.device() == "cpu") {
    t.DeviceLimited("C2", "the error needs a device other than the CPU");
  } else if (!cpu_state_dict) {
    t.Raises("C2", "RuntimeError", "Found following parameters on non-CPU device: [('0.weight', ",
             [&] { model.Forward({input}); });
  } else {
    Dict state_dict;
    t.NoError("C3", [&] {
      model.Forward({input});
      state_dict = model.StateDict();
    });
    CheckOffloaded(t, state_dict, loaded, pin_memory);
  }
}

}  // namespace shardcts::fully_shard_state_dict
