// The three tests that apply fully_shard to tensor-parallel models.
#include <ATen/ATen.h>

#include "suites/fully_shard_state_dict/ports.h"
#include "suites/fully_shard_state_dict/save_load.h"

namespace shardcts::fully_shard_state_dict {
namespace {

constexpr int kMlps = 3;

TensorParallelPlan PlanOfMlps() {
  TensorParallelPlan plan;
  for (int i = 0; i < kMlps; ++i) {
    plan.emplace_back(fmt::format("{}.in_proj", i), "colwise");
    plan.emplace_back(fmt::format("{}.out_proj", i), "rowwise");
  }
  return plan;
}

Model BuildMlps(Trial& t, int64_t dim) {
  t.subject().Seed(42);
  return t.subject().Build("mlp_sequence", {{"dim", dim}, {"count", kMlps}});
}

// Tensor parallel over the mesh dimension "tp", then fully_shard of each MLP and the root over the others.
void ApplyParallelism(Model& model, const Mesh& mesh, const std::vector<std::string>& data_parallel_names) {
  model.Parallelize(mesh.Submesh({"tp"}), PlanOfMlps());
  const Mesh data_parallel = mesh.Submesh(data_parallel_names);
  for (int i = 0; i < kMlps; ++i) model.FullyShard(std::to_string(i), {.mesh = data_parallel});
  model.FullyShard("", {.mesh = data_parallel});
}

ExpectedLayout TensorParallelLayout(const Model& plain, const MeshLayout& mesh) {
  ExpectedLayout expected{mesh, {}};
  for (const auto& [key, value] : plain.Parameters()) {
    const std::string name = ToString(key);
    std::vector<Placement> placements = FsdpOnTensorParallel(TensorParallelPlacement(name), mesh.shape.back());
    if (mesh.NumDims() == 3) placements.insert(placements.begin(), Placement::Replicate());
    expected.parameters.push_back({name, GlobalShape(value), placements});
  }
  return expected;
}

}  // namespace

PORT(test_2d_state_dict_correctness) {
  const std::vector<int64_t> shape = {2, t.world_size() / 2};
  const Mesh mesh = t.subject().InitMesh(shape, {"dp", "tp"});
  const Model plain = BuildMlps(t, 4);
  const ExpectedLayout expected = TensorParallelLayout(plain, WorldMesh(t.device(), shape, {"dp", "tp"}));
  Model model = plain.Copy();
  ApplyParallelism(model, mesh, {"dp"});

  const Dict plain_state = plain.StateDict();
  const Dict state = model.StateDict();
  t.Strict("C2", SameNames("state-dict keys", plain_state.Keys(), state.Keys()));
  bool distributed = true;
  for (const ExpectedParameter& parameter : expected.parameters) {
    const Value& actual = state.At(parameter.name);
    t.Strict("C2", HasLayout(parameter.name, expected.mesh, parameter.placements, actual));
    distributed = t.Check("C1", IsDTensor(parameter.name, actual)) && distributed;
  }
  if (!distributed) return;
  const Dict full = t.subject().FullTensors(state);
  for (const auto& [name, value] : full) {
    t.Check("C2", SameValue(ToString(name) + ": full tensor", plain_state.At(name), value.AsTensor().cpu()));
  }
}

PORT(test_dp_tp_state_dict_save_load) {
  const std::vector<int64_t> shape = {2, t.world_size() / 2};
  const Mesh mesh = t.subject().InitMesh(shape, {"dp", "tp"});
  Model model = BuildMlps(t, t.IntParam("mlp_dim"));
  const ExpectedLayout expected = TensorParallelLayout(model, WorldMesh(t.device(), shape, {"dp", "tp"}));
  ApplyParallelism(model, mesh, {"dp"});
  CheckSaveAndLoad(t, model, expected);
}

PORT(test_hsdp_tp_state_dict_save_load) {
  const std::vector<int64_t> shape = {2, 2, t.world_size() / 4};
  const std::vector<std::string> names = {"dp_replicate", "dp_shard", "tp"};
  const Mesh mesh = t.subject().InitMesh(shape, names);
  Model model = BuildMlps(t, t.IntParam("mlp_dim"));
  const ExpectedLayout expected = TensorParallelLayout(model, WorldMesh(t.device(), shape, names));
  ApplyParallelism(model, mesh, {"dp_replicate", "dp_shard"});
  CheckSaveAndLoad(t, model, expected);
}

}  // namespace shardcts::fully_shard_state_dict
