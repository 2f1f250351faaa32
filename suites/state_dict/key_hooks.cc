// Models whose hooks rename keys.
#include <ATen/ATen.h>

#include "rank/whole.h"
#include "suites/state_dict/comparisons.h"
#include "suites/state_dict/ports.h"
#include "suites/state_dict/save_and_load.h"

namespace shardcts::state_dict {
namespace {

Model Fusion(Trial& t, const char* kind, std::string_view device) {
  return t.subject().Build("fusion_embedding", {{"kind", kind}, {"vocab", 4}, {"fusion_vocab", 4}, {"dim", 4}}, device);
}

}  // namespace

PORT(test_state_dict_with_hook_on_keys) {
  t.subject().Seed(1234);
  Model plain = Fusion(t, "FusionEmbedding", "meta");
  const Model renaming = Fusion(t, "RenamingFusionEmbedding", t.device());
  Dict saved;
  t.NoError("C3", [&] { saved = GetModelStateDict(renaming); });
  t.Strict("C3", SameNames("names", {"fusion_embedding.weight", "weight"}, saved.Keys()));
  t.Raises("C1", "RuntimeError", "Missing key", [&] { SetModelStateDict(plain, saved); });

  Model modifying = Fusion(t, "ModifyingFusionEmbedding", "meta");
  LoadResult result;
  t.NoError("C2", [&] { result = SetModelStateDict(modifying, saved); });
  t.Strict("C2", SameNames("missing keys", {}, result.missing_keys));
  t.Strict("C2", SameNames("unexpected keys", {}, result.unexpected_keys));
  // Upstream's target is on the meta device, so nothing is copied into it.
  Model target = Fusion(t, "ModifyingFusionEmbedding", t.device());
  t.NoError("C2", [&] { SetModelStateDict(target, saved); });
  t.Strict("C2", AreIdentical("model", saved, GetModelStateDict(target)));
  // For a plain model the hooks alone suffice; full tensors are sharded by the names of the modules' modifiers.
  Model sharded = Fusion(t, "ModifyingFusionEmbedding", t.device());
  sharded.FullyShard("");
  t.NoError("C2", [&] { SetModelStateDict(sharded, saved, {.full_state_dict = true}); });
  t.Strict("C2", AreIdentical("sharded model", saved, WholeDict(t, GetModelStateDict(sharded))));
}

}  // namespace shardcts::state_dict
