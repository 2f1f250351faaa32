// Ports of test_hsdp_checkpoint.py and test_tp_checkpoint.py.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/dcp/ports.h"
#include "suites/dcp/steps.h"

namespace shardcts::dcp {
namespace {

Layers SimpleModel(bool is_even) {
  if (is_even) return {.in = 5, .out = {{"net1", 8}, {"net2", 4}, {"net3", 12}}};
  return {.in = 5, .out = {{"net1", 10}, {"net2", 15}, {"net3", 30}, {"net4", 5}}};
}

Model Sharded(Trial& t, const Layers& layers, int64_t seed, const Mesh& mesh, std::string strategy) {
  Model model = BuildLayers(t, layers, seed);
  WrapFsdp(model, "", {.device_mesh = mesh, .sharding_strategy = std::move(strategy)});
  SetStateDictType(model, StateDictKind::kSharded);
  return model;
}

void StepOn(Model& model, Optimizer& optimizer, const at::Tensor& input) {
  model.Backward(model.Forward({input}));
  optimizer.Step();
}

struct ConversionChecks {
  std::string_view names, meshes, placements, values;
};
void Differs(Trial& t, const ConversionChecks& checks, const Dict& saved, const Dict& other, bool is_loaded) {
  t.Check(checks.names, SameNames("names", saved.Keys(), other.Keys()));
  const Dict whole = WholeDict(t, saved), whole_other = WholeDict(t, other);
  for (const auto& [name, value] : saved) {
    const std::string entry = ToString(name);
    const Value* found = other.Find(name);
    if (!found) continue;
    const DTensor &from = value.AsDTensor(), &to = found->AsDTensor();
    t.Check(checks.meshes, Holds(from.mesh != to.mesh, entry, "expected another mesh"));
    t.Check(checks.placements, Holds(from.placements != to.placements, entry, "expected other placements"));
    const Verification same = SameValue(entry, whole.At(name), whole_other.At(name));
    t.Check(checks.values, is_loaded ? same : Holds(!same.ok, entry, "expected other values"));
  }
}

}  // namespace

PORT(test_hsdp_checkpoint) {
  const Mesh mesh = t.subject().InitMesh({2, t.world_size() / 2});
  Model model = Sharded(t, SimpleModel(t.BoolParam("is_even_sharded_model")), 1, mesh, "HYBRID_SHARD");
  Optimizer optimizer = t.subject().CreateOptimizer(model, "adam", {.lr = 0.1});
  const Dict saved = t.subject().Clone(model.StateDict()).AsDict();
  SaveCheckpoint(t.caller(), {{"model", saved}}, "checkpoint");
  StepOn(model, optimizer, Uniform({4, 5}));
  ExpectSameLayout(t, {"C1", "C2", "C3", "C4"}, "after a step", saved, model.StateDict(), Values::kDiffer);
  // Upstream loads into the tensors that it has saved.
  const Dict target = t.subject().Clone(model.StateDict()).AsDict();
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", target}}, "checkpoint").At("model").AsDict();
  model.LoadStateDict(loaded);
  ExpectSameLayout(t, {"C5", "C6", "C7", "C8"}, "after the load", saved, model.StateDict(), Values::kEqual);
  t.Strict("C8", SameValue("what was loaded", saved, loaded));
}

PORT(test_hsdp_fsdp_checkpoint_conversion) {
  const Layers layers = SimpleModel(t.BoolParam("is_even_sharded_model"));
  const Mesh two = t.subject().InitMesh({2, t.world_size() / 2});
  Model hybrid = Sharded(t, layers, 1, two, "HYBRID_SHARD");
  const Dict saved = hybrid.StateDict();
  SaveCheckpoint(t.caller(), {{"model", saved}}, "checkpoint");
  Model full = Sharded(t, layers, 2, t.subject().InitMesh({t.world_size()}), "");
  const Dict target = full.StateDict();
  Differs(t, {"C1", "C2", "C3", "C4"}, saved, target, false);
  full.LoadStateDict(LoadCheckpoint(t.caller(), {{"model", target}}, "checkpoint").At("model").AsDict());
  Differs(t, {"C5", "C6", "C7", "C8"}, saved, full.StateDict(), true);
}

PORT(test_tp_checkpoint) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  Model model = BuildLayers(t, {.in = 10, .out = {{"net1", 16}, {"net2", 10}}}, 5);
  model.Parallelize(mesh, {{"net1", "colwise"}, {"net2", "rowwise"}});
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.25});
  const Dict saved = t.subject().Clone(model.StateDict()).AsDict();
  SaveCheckpoint(t.caller(), {{"model", saved}}, "checkpoint");
  StepOn(model, optimizer, Uniform({20, 10}));
  const Dict state = model.StateDict();
  for (const auto& [name, value] : saved) {
    const bool is_same = SameValue("", LocalPart(value), LocalPart(state.At(name))).ok;
    t.Check("C1", Holds(!is_same, ToString(name), "expected other values after a step"));
  }
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", state}}, "checkpoint").At("model").AsDict();
  for (const auto& [name, value] : saved) {
    t.Check("C2", SameValue(ToString(name), LocalPart(value), LocalPart(loaded.At(name))));
    t.Strict("C2", SameValue(ToString(name), LocalPart(value), LocalPart(model.StateDict().At(name))));
  }
}

PORT(test_tp_checkpoint_load_on_meta_device) {
  const Mesh mesh = t.subject().InitMesh({t.world_size()});
  const Layers layers{.in = 5, .out = {{"net1", 10}, {"net2", 15}, {"net3", 1}}};
  const TensorParallelPlan plan = {{"net1", "rowwise"}, {"net2", "colwise"}};
  Model model = BuildLayers(t, layers, 5);
  model.Parallelize(mesh, plan);
  const Dict saved = t.subject().Clone(model.StateDict()).AsDict();
  SaveCheckpoint(t.caller(), {{"model", saved}}, "checkpoint");
  Model other = BuildLayers(t, layers, 6, "meta");
  other.Parallelize(mesh, plan);
  const Dict loaded = LoadCheckpoint(t.caller(), {{"model", other.StateDict()}}, "checkpoint").At("model").AsDict();
  other.LoadStateDict(loaded, {.assign = true});
  const Dict after = other.StateDict();
  t.Check("C1", SameNames("names", saved.Keys(), after.Keys()));
  for (const auto& [name, value] : saved) {
    t.Check("C1", SameValue(ToString(name), value, after.At(name)));
  }
}

}  // namespace shardcts::dcp
