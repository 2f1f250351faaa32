// State dicts saved with FSDP match the unwrapped model: keys, training compared with a data-parallel reference model,
// loads into plain modules.
#include <ATen/ATen.h>

#include <algorithm>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {
namespace {

at::Tensor UniformInput(const Trial& t) {
  const at::Tensor normal = RandomInput(t, {64, 4});
  return at::sigmoid(normal).set_requires_grad(true);
}

// Three iterations on one input.
void Train(Trial& t, std::string_view check, Model& model, const at::Tensor& input) {
  Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", {.lr = 0.1});
  t.NoError(check, [&] {
    for (int i = 0; i < 3; ++i) {
      model.Backward(model.Forward({input}));
      optimizer.Step();
      optimizer.ZeroGrad();
    }
  });
}

bool IsFsdpUnit(const Value& module) {
  const std::vector<std::string> wrappers = module.AsDict().At("wrappers").AsStrings();
  return std::ranges::find(wrappers, "fsdp") != wrappers.end();
}

}  // namespace

PORT(test_state_dict_save_load_flow) {
  const StateDictKind kind = KindOf(t);
  const at::Tensor input = UniformInput(t);
  Model model = InnerOuterModel(t);
  Train(t, "C5", model, input);

  t.subject().Seed(1);
  Model blank = t.subject().Build("inner_outer", {});
  WrapFsdp(blank, "inner");
  blank.To(t.device());
  WrapFsdp(blank, "");
  Zero(blank);
  Dict saved;
  WithStateDictType(model, kind, [&] { t.NoError("C1", [&] { saved = model.StateDict(); }); });
  if (t.BoolParam("move_to_cpu")) t.NoError("C2", [&] { saved = t.subject().To(saved, "cpu").AsDict(); });
  WithStateDictType(blank, kind, [&] { Load(t, "C3", blank, saved); });

  Model twin = PlainInnerOuterModel(t);
  WrapDdp(twin);
  Train(t, "C5", twin, input);
  // The order in which gradients are summed differs between the two.
  ExpectSame(t, "C4", t.subject().Clone(twin.Parameters()).AsDict(), FullStateOf(t, blank).parameters,
             {.dtype_default_tolerance = true});
}

PORT(test_fsdp_state_dict_keys) {
  const StateDictKind kind = KindOf(t);
  Model model = InnerOuterModel(t);
  Dict saved;
  WithStateDictType(model, kind, [&] { t.NoError("C1", [&] { saved = model.StateDict(); }); });
  if (kind == StateDictKind::kLocal) {
    t.Check("C2", SameNameSet("state-dict keys", {"_flat_param", "inner._flat_param"}, saved.Keys()));
    return;
  }
  const Model plain = PlainInnerOuterModel(t);
  t.Check("C3", SameNameSet("state-dict keys", plain.StateDict().Keys(), saved.Keys()));
  t.Strict("C3",
           SameNames("state-dict keys", {"inner.weight", "inner.bias", "outer.weight", "outer.bias"}, saved.Keys()));
}

PORT(test_state_dict_load_into_local_module) {
  const StateDictKind kind = KindOf(t);
  const bool fsdp_root = t.BoolParam("fsdp_root");
  const bool rank0_and_offload = t.BoolParam("state_dict_rank0_and_offload");
  Model model = fsdp_root ? InnerOuterModel(t, true) : NonFsdpRootModel(t);
  Train(t, "C1", model, fsdp_root ? UniformInput(t) : RandomInput(t, {1, 10}).set_requires_grad(true));
  const FullState trained = FullStateOf(t, model);

  Dict saved;
  WithStateDictType(model, kind, ConfigFor(kind, rank0_and_offload),
                    [&] { t.NoError("C2", [&] { saved = model.StateDict(); }); });
  if (rank0_and_offload) {
    ExpectOnlyOnRank0(t, saved, {.not_empty = "C3", .device = "C4", .empty = "C5"}, kUnmanaged, fsdp_root);
  }

  Model blank = fsdp_root ? PlainInnerOuterModel(t, true) : t.subject().Build("non_fsdp_root", {}, t.device());
  for (const Value& module : Modules(blank)) {
    t.Check("C6", Holds(!IsFsdpUnit(module), module.AsDict().At("path").AsString(), "is an fsdp unit"));
  }
  blank.Fill(0);
  t.NoError("C7", [&] { saved = GatherStateDict(blank.caller(), saved); });
  if (rank0_and_offload) {
    t.NoError("C8", [&] { saved = t.subject().To(t.FromRank0(saved), t.device()).AsDict(); });
  }
  Load(t, "C9", blank, saved);
  ExpectSame(t, "C10", trained.parameters, t.subject().Clone(blank.Parameters()).AsDict());
  for (const auto& [name, value] : blank.Buffers()) {
    if (ToString(name).find("non_persistent") != std::string::npos) continue;
    t.Strict("C10", SameValue(ToString(name), trained.buffers.At(name), value));
  }
}

}  // namespace shardcts::fsdp_state_dict
