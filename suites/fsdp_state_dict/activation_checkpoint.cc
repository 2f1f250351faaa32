// Activation-checkpoint wrappers inside, below and next to FSDP units: state dicts do not contain them.
#include <ATen/ATen.h>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {
namespace {

using Builder = std::function<Model(bool checkpoint)>;

// Upstream's apply_ac_to_linears: every Linear gets a wrapper, inside existing units.
void CheckpointLinears(Model& model) {
  for (const Value& module : Modules(model)) {
    if (module.AsDict().At("class").AsString() == "Linear") {
      WrapCheckpoint(model, module.AsDict().At("path").AsString(), /*innermost=*/true);
    }
  }
}

// One of the two models of an instance: save from one, load into another, wrapped or not.
void CheckSaveAndLoad(Trial& t, const Builder& build, const std::vector<std::string>& names) {
  const std::string wrap = t.TextParam("checkpoint_wrap");
  const bool rank0_and_offload = t.BoolParam("rank0_only_and_offload");
  const StateDictKind kind = KindOf(t);
  Model model = build(wrap == "source" || wrap == "both");
  if (wrap == "source_after_wrap" || wrap == "both_after_wrap") CheckpointLinears(model);

  WithStateDictType(model, kind, ConfigFor(kind, rank0_and_offload), [&] {
    Dict saved;
    t.NoError("C1", [&] {
      model.To(t.device());
      saved = GatherStateDict(model.caller(), model.StateDict());
    });
    const bool only_on_rank0 = rank0_and_offload && kind == StateDictKind::kFull;
    t.Strict("C1", SameNames("state-dict keys", only_on_rank0 && t.rank() != 0 ? std::vector<std::string>{} : names,
                             saved.Keys()));

    Model other = build(wrap == "dest" || wrap == "both");
    if (wrap == "both_after_wrap") CheckpointLinears(other);
    Zero(other);
    ExpectDifferent(t, model, other, {.parameter_count = "C2", .parameters = "C3"});
    if (rank0_and_offload) {
      t.NoError("C4", [&] { saved = t.subject().To(t.FromRank0(saved), t.device()).AsDict(); });
      t.Strict("C4", SameNames("broadcast keys", names, saved.Keys()));
    }
    Load(t, "C5", other, saved);
    ExpectEqual(t, model, other, {.parameter_count = "C6", .parameters = "C7"});
  });
}

void WrapLayers(Model& model, bool checkpoint) {
  for (const char* stack : {"encoder", "decoder"}) {
    for (const char* layer : {"0", "1"}) {
      const std::string path = fmt::format("transformer.{}.layers.{}", stack, layer);
      if (checkpoint) WrapCheckpoint(model, path);
      WrapFsdp(model, path);
    }
  }
  WrapFsdp(model, "transformer");
}

}  // namespace

PORT(test_fsdp_state_dict_with_activation_checkpoint) {
  CheckSaveAndLoad(t, [&](bool checkpoint) { return SimpleModel(t, {}, checkpoint); }, {"weight"});
  CheckSaveAndLoad(t, [&](bool checkpoint) { return NestedModel(t, {}, checkpoint); }, {"0.weight", "1.weight"});
}

PORT(test_state_dict_with_manual_ac_wrapper) {
  const bool rank0_and_offload = t.BoolParam("rank0_only_and_offload");
  const StateDictKind kind = KindOf(t);
  const StateDictConfig config = ConfigFor(kind, rank0_and_offload);
  Model with = t.subject().Build("transformer_with_shared_params", {}, t.device());
  Model without = with.Copy();
  const std::vector<std::string> names = with.StateDict().Keys();
  WrapLayers(without, false);
  WrapLayers(with, true);

  Dict saved_without, saved_with;
  t.NoError("C1", [&] { WithStateDictType(without, kind, config, [&] { saved_without = without.StateDict(); }); });
  t.NoError("C2", [&] { WithStateDictType(with, kind, config, [&] { saved_with = with.StateDict(); }); });
  t.Check("C3", SameNameSet("keys with and without checkpoint", saved_without.Keys(), saved_with.Keys()));
  if (!rank0_and_offload || t.rank() == 0) t.Strict("C3", SameNameSet("state-dict keys", names, saved_with.Keys()));
  if (rank0_and_offload) {
    t.NoError("C4", [&] {
      saved_without = t.subject().To(t.FromRank0(saved_without), t.device()).AsDict();
      saved_with = t.subject().To(t.FromRank0(saved_with), t.device()).AsDict();
    });
  }
  WithStateDictType(without, kind, config, [&] { Load(t, "C5", without, saved_without); });
  WithStateDictType(with, kind, config, [&] { Load(t, "C6", with, saved_with); });
  ExpectEqual(t, with, without, {.parameter_count = "C7", .parameters = "C8", .buffer_count = "C9", .buffers = "C10"});
}

}  // namespace shardcts::fsdp_state_dict
