#include <ATen/ATen.h>

#include "suites/fully_shard_state_dict/ports.h"
#include "suites/fully_shard_state_dict/save_load.h"

namespace shardcts::fully_shard_state_dict {
namespace {

// The layout of a data-parallel model: dim 0, or the largest dim, over the last mesh dimension.
ExpectedLayout DataParallelLayout(const Model& plain, const MeshLayout& mesh, bool largest_dim) {
  ExpectedLayout expected{mesh, {}};
  for (const auto& [name, value] : plain.Parameters()) {
    const std::vector<int64_t> shape = GlobalShape(value);
    std::vector<Placement> placements(mesh.NumDims(), Placement::Replicate());
    placements.back() = Placement::Shard(largest_dim ? LargestDim(shape) : 0);
    expected.parameters.push_back({ToString(name), shape, placements});
  }
  return expected;
}

void ShardChildrenAndRoot(Model& model, const FullyShardOptions& options) {
  for (const char* path : {"0", "1", "2", ""}) model.FullyShard(path, options);
}

// C14 to C16: a forward with reshard_after_forward=False leaves parameters unsharded; the next state dict reshards.
void CheckSaveAfterForward(Trial& t, Model& model, int64_t dim) {
  const Dict before = model.StateDict();
  const at::Tensor input = at::linspace(-1, 1, 2 * dim).reshape({2, dim}).to(c10::Device(t.device()));
  t.NoError("C14", [&] { model.Forward({input}); });
  for (const auto& [name, value] : model.Parameters()) {
    t.Strict("C14", IsPlainTensor(ToString(name) + " after forward", value));
    t.Strict("C14", IsParameter(ToString(name) + " after forward", value));
  }
  const Dict after = model.StateDict();
  t.Check("C15", SameNameSet("state-dict keys after forward", before.Keys(), after.Keys()));
  const Dict parameters = model.Parameters();
  for (const auto& [key, saved] : before) {
    const std::string name = ToString(key);
    if (!after.Contains(name)) continue;  // C15 has failed already
    const Value& actual = after.At(name);
    if (!t.Check("C16", SameValue(name + " after forward", saved, actual))) continue;
    t.Strict("C16", Equal(name + ": address after forward", DataPointer(saved), DataPointer(actual)));
    t.Strict("C16", IsDTensor(name + ": parameter after state_dict", parameters.At(name)));
  }
}

}  // namespace

PORT(test_dp_state_dict_save_load) {
  const int64_t dim = t.IntParam("mlp_dim");
  const bool largest_dim = t.BoolParam("use_shard_placement_fn");
  const bool hsdp = t.TextParam("mesh") == "HSDP";
  const std::vector<int64_t> shape =
      hsdp ? std::vector<int64_t>{t.world_size() / 2, 2} : std::vector<int64_t>{t.world_size()};
  const std::vector<std::string> names =
      hsdp ? std::vector<std::string>{"dp_replicate", "dp_shard"} : std::vector<std::string>{};
  const Mesh mesh = t.subject().InitMesh(shape, names);

  t.subject().Seed(42);
  const Model base = t.subject().Build("nested_mlp", {{"dim", dim}});
  const ExpectedLayout expected = DataParallelLayout(base, WorldMesh(t.device(), shape, names), largest_dim);
  FullyShardOptions options{.mesh = mesh, .shard_placement = largest_dim ? "largest_dim" : ""};

  Model model1 = base.Copy();
  ShardChildrenAndRoot(model1, options);
  CheckSaveAndLoad(t, model1, expected);

  Model model2 = base.Copy();
  options.reshard_after_forward = false;
  ShardChildrenAndRoot(model2, options);
  CheckSaveAndLoad(t, model2, expected);
  CheckSaveAfterForward(t, model2, dim);
}

}  // namespace shardcts::fully_shard_state_dict
