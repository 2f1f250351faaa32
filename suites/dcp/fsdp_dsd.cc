// Ports of fsdp/test_fsdp_dsd.py.
#include <ATen/ATen.h>

#include "contract/dsd.h"
#include "contract/fsdp_optim.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"

namespace shardcts::dcp {
namespace {

const StateDictOptions kFull{.full_state_dict = true, .cpu_offload = true};
const TensorParallelPlan kPlan = {{"0.in_proj", "colwise"}, {"0.out_proj", "rowwise"}, {"1.in_proj", "colwise"},
                                  {"1.out_proj", "rowwise"}, {"2.in_proj", "colwise"}, {"2.out_proj", "rowwise"}};

// A model and its AdamW.
struct Trained {
  Model model;
  Optimizer optimizer;
};

Trained WithOptimizer(Trial& t, const Model& model) {
  return {model, t.subject().CreateOptimizer(model, "adamw", {.lr = 0.1})};
}

void Step(Trained& trained, const at::Tensor& input) {
  trained.model.Backward(trained.model.Forward({input}));
  trained.optimizer.Step();
}

ModelAndOptimizerState StateOf(const Trained& trained, const StateDictOptions& options) {
  return {GetModelStateDict(trained.model, options),
          GetOptimizerStateDict(trained.model, {trained.optimizer}, options)};
}

// Upstream's _get_base_model: an MLP, a Sequential of MLP and Linear, an MLP.
Model Nested(Trial& t, int64_t dim, int64_t seed) {
  t.subject().Seed(seed);
  return t.subject().Build("nested_mlp", {{"dim", dim}}, t.device());
}

// Three MLPs of dimension 2.
Model Sequence(Trial& t, int64_t seed) {
  t.subject().Seed(seed);
  return t.subject().Build("mlp_sequence", {{"dim", 2}}, t.device());
}

void FullyShardAll(Model& model, const FullyShardOptions& options = {}) {
  for (const char* path : {"0", "1", "2", ""}) model.FullyShard(path, options);
}

struct Meshes {
  Mesh all;  // 1-D
  Mesh dp, tp;
};
Meshes MeshesOf(Trial& t) {
  const Mesh two = t.subject().InitMesh({2, t.world_size() / 2}, {"dp", "tp"});
  return {t.subject().InitMesh({t.world_size()}, {"tp"}), two.Submesh({"dp"}), two.Submesh({"tp"})};
}

Model ShardedOverTensorParallel(const Model& base, const Meshes& meshes) {
  Model model = base;
  model.Parallelize(meshes.tp, kPlan);
  FullyShardAll(model, {.mesh = meshes.dp});
  return model;
}

void Load(Trial& t, Trained& trained, const std::string& model_name, const std::string& optimizer_name) {
  const ModelAndOptimizerState target = StateOf(trained, {});
  const Dict loaded =
      LoadCheckpoint(t.caller(), {{model_name, target.model}, {optimizer_name, target.optimizer}}, "checkpoint");
  SetModelStateDict(trained.model, loaded.At(model_name).AsDict());
  SetOptimizerStateDict(trained.model, {trained.optimizer}, loaded.At(optimizer_name).AsDict());
}

struct StatePairChecks {
  std::string_view model, optimizer;
};
// Within PyTorch's default tolerances, as upstream; on ranks without a full state dict both are empty.
void SameState(Trial& t, const StatePairChecks& checks, const std::string& what, const ModelAndOptimizerState& expected,
               const ModelAndOptimizerState& actual) {
  const CompareOptions options{.dtype_default_tolerance = true};
  t.Check(checks.model, SameValue(what + ": model", expected.model, InOrderOf(expected.model, actual.model), options));
  t.Check(checks.optimizer, SameValue(what + ": optimizer", expected.optimizer,
                                      InOrderOf(expected.optimizer, actual.optimizer), options));
}

// Saves the state of the plain model and of the wrapped one, and loads each into FSDP2 over tensor parallelism.
void LoadsBoth(Trial& t, const StatePairChecks& checks, const Trained& base, const Trained& wrapped,
               const Meshes& meshes) {
  const ModelAndOptimizerState full = StateOf(base, kFull), sharded = StateOf(wrapped, {});
  SaveCheckpoint(t.caller(),
                 {{"model_full", full.model}, {"optim_full", full.optimizer},
                  {"model_sharded", sharded.model}, {"optim_sharded", sharded.optimizer}},
                 "checkpoint");
  for (const std::string kind : {"full", "sharded"}) {
    Trained loaded = WithOptimizer(t, ShardedOverTensorParallel(Sequence(t, 7), meshes));
    Load(t, loaded, "model_" + kind, "optim_" + kind);
    SameState(t, checks, kind, full, StateOf(loaded, kFull));
  }
}

}  // namespace

PORT(test_1d_fsdp_get_model_state_dict) {
  const int64_t dim = t.IntParam("mlp_dim");
  Model model = Nested(t, dim, 1);
  FullyShardAll(model);
  t.Check("C1", SameValue("state dict", model.StateDict(), GetModelStateDict(model)));
  Model other = Nested(t, dim, 1);
  FullyShardAll(other, {.reshard_after_forward = false});
  other.Forward({Uniform({2, dim})});
  t.Check("C2", SameValue("state dict after a forward", other.StateDict(), GetModelStateDict(other)));
}

PORT(test_1d_fsdp_cpu_offload_full_model_state_dict) {
  Model plain = Nested(t, 2, 1), sharded = Nested(t, 2, 1);
  FullyShardAll(sharded);
  const Dict expected = t.subject().To(t.subject().Clone(plain.StateDict()), "cpu").AsDict();
  const Dict actual = GetModelStateDict(sharded, kFull);
  if (t.rank() > 0) return t.Check("C3", Equal<size_t>("entries", 0, actual.size())), void();
  t.Check("C1", SameValue("state dict", expected, actual));
  for (const auto& [name, value] : expected) {
    t.Check("C2", Holds(value.AsTensor().is_cpu(), ToString(name), "expected on the CPU"));
  }
  for (const auto& [name, value] : actual) {
    t.Strict("C2", Holds(value.AsTensor().is_cpu(), ToString(name), "expected on the CPU"));
  }
}

PORT(test_save_with_fsdp1_and_load_with_fsdp2) {
  Model model = Nested(t, 2, 1);
  WrapFsdp(model, "", {.use_orig_params = true, .auto_wrap_policy = AutoWrapPolicy::Always()});
  Trained saved = WithOptimizer(t, model);
  Step(saved, Uniform({2}));
  const StateDictKind kind = t.TextParam("state_dict_type") == "FULL" ? StateDictKind::kFull : StateDictKind::kSharded;
  WithStateDictType(saved.model, kind, [&] {
    const Dict state{{"model", saved.model.StateDict()},
                     {"optim", ShardedOptimStateDict(saved.model, saved.optimizer)}};
    SaveCheckpoint(t.caller(), state, "checkpoint");
  });
  const ModelAndOptimizerState expected = StateOf(saved, kFull);
  Model other = Nested(t, 2, 2);
  FullyShardAll(other);
  Trained loaded = WithOptimizer(t, other);
  Load(t, loaded, "model", "optim");
  SameState(t, {"C1", "C2"}, "FSDP2", expected, StateOf(loaded, kFull));
}

PORT(test_save_with_fsdp1_and_load_with_fsdp2_tp) {
  const Meshes meshes = MeshesOf(t);
  Trained base = WithOptimizer(t, Sequence(t, 1));
  Model model = Sequence(t, 1);
  // Upstream gives the 2-D mesh, of which FSDP1 takes the first dimension.
  WrapFsdp(model, "",
           {.device_mesh = meshes.dp, .use_orig_params = true, .auto_wrap_policy = AutoWrapPolicy::Always()});
  Trained wrapped = WithOptimizer(t, model);
  Step(base, Uniform({2}));
  Step(wrapped, Uniform({2}));
  LoadsBoth(t, {"C1", "C2"}, base, wrapped, meshes);
}

PORT(test_save_with_tp_and_load_with_fsdp2_tp) {
  const Meshes meshes = MeshesOf(t);
  Trained base = WithOptimizer(t, Sequence(t, 1));
  Model model = Sequence(t, 1);
  model.Parallelize(meshes.all, kPlan);
  Trained wrapped = WithOptimizer(t, model);
  Step(base, Uniform({2}));
  Step(wrapped, Uniform({2}));
  LoadsBoth(t, {"C1", "C2"}, base, wrapped, meshes);
}

PORT(test_save_with_fsdp2_tp_and_load_with_tp) {
  const Meshes meshes = MeshesOf(t);
  // Upstream makes its plan anew in either case, so that implicit replication has nothing to do.
  for (const bool is_full : {true, false}) {
    Trained base = WithOptimizer(t, Sequence(t, 1));
    Trained saved = WithOptimizer(t, ShardedOverTensorParallel(Sequence(t, 1), meshes));
    Step(base, Uniform({2}));
    Step(saved, Uniform({2}));
    const ModelAndOptimizerState state = StateOf(saved, {.full_state_dict = is_full});
    SaveCheckpoint(t.caller(), {{"model", state.model}, {"optim", state.optimizer}}, "checkpoint");
    Model model = Sequence(t, 7);
    model.Parallelize(meshes.all, kPlan);
    Trained loaded = WithOptimizer(t, model);
    Load(t, loaded, "model", "optim");
    const ModelAndOptimizerState actual = StateOf(loaded, kFull);
    const std::string what = is_full ? "saved whole" : "saved sharded";
    SameState(t, {"C1", "C2"}, what, StateOf(base, kFull), actual);
    SameState(t, {"C3", "C4"}, what, StateOf(saved, kFull), actual);
  }
}

}  // namespace shardcts::dcp
