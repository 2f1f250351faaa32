// Names do not contain activation-checkpoint wrappers, whatever else wraps the model.
#include <ATen/ATen.h>

#include "contract/fsdp.h"
#include "rank/whole.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

// Upstream's apply_activation_checkpointing: around every module but the root.
void CheckpointEveryModule(Model& model) {
  std::vector<std::string> paths;
  for (const Value& module : Modules(model)) paths.push_back(module.AsDict().At("path").AsString());
  for (const std::string& path : paths) {
    if (!path.empty()) WrapCheckpoint(model, path);
  }
}

// C1 and C2. Strict: the names of the plain model's own state dict in their order, and its values; the saved state dict
// can be loaded.
void ExpectNamesOfPlainModel(Trial& t, const std::function<void(Model&)>& wrap) {
  t.subject().Seed(1234);
  Model plain = CompositeParam(t);
  const Dict own = plain.StateDict();
  const Dict original = GetModelStateDict(plain);
  Model model = plain.Copy();
  CheckpointEveryModule(model);
  wrap(model);
  Dict saved;
  t.NoError("C2", [&] { saved = GetModelStateDict(model); });
  t.Check("C1", SameNameSet("names", original.Keys(), saved.Keys()));
  if (!t.Strict("C1", SameNames("names", own.Keys(), saved.Keys()))) return;
  const Dict whole = WholeDict(t, saved);
  t.Strict("C1", AreIdentical("model", own, whole));
  t.NoError("C2", [&] { SetModelStateDict(model, saved); });
}

}  // namespace

PORT(test_activation_ckpt_fqns_ddp) {
  ExpectNamesOfPlainModel(t, [](Model& model) { WrapDdp(model); });
}

PORT(test_activation_ckpt_fqns_fsdp1) {
  FsdpOptions fsdp;
  fsdp.use_orig_params = t.BoolParam("use_orig_params");
  ExpectNamesOfPlainModel(t, [&](Model& model) { WrapFsdp(model, "", fsdp); });
}

}  // namespace shardcts::state_dict
