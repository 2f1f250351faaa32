// Units over groups of their own: one with a backend for each device type, groups of one rank.
#include <ATen/ATen.h>

#include <numeric>
#include <optional>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {

PORT(test_sharded_load_multi_backend_pg) {
  std::vector<int64_t> ranks(t.world_size());
  std::iota(ranks.begin(), ranks.end(), 0);
  FsdpOptions options;
  options.use_orig_params = true;
  std::optional<Model> model;
  t.NoError("C1", [&] {
    Model plain = t.subject().Build("transformer_with_shared_params", {}, t.device());
    options.process_group = NewGroup(plain.caller(), ranks, /*per_device_backends=*/true);
    model.emplace(SharedParametersModel(t, options));
  });
  SetStateDictType(*model, StateDictKind::kSharded);
  Dict saved;
  t.NoError("C2", [&] { saved = model->StateDict(); });
  const Dict before = t.subject().Clone(model->Parameters()).AsDict();
  model->Fill(0);
  if (t.BoolParam("load_cpu")) t.NoError("C3", [&] { saved = t.subject().To(saved, "cpu").AsDict(); });
  Load(t, "C4", *model, saved);
  ExpectSame(t, "C5", before, t.subject().Clone(model->Parameters()).AsDict());
}

PORT(test_world_size_one) {
  std::optional<ProcessGroup> own;
  Model model = t.subject().Build("transformer_with_shared_params", {}, t.device());
  for (int64_t rank = 0; rank < t.world_size(); ++rank) {
    const ProcessGroup group = NewGroup(model.caller(), {rank});
    if (rank == t.rank()) own.emplace(group);
  }
  FsdpOptions options;
  options.process_group = own;
  options.auto_wrap_policy = AutoWrapPolicy::Classes({"TransformerEncoderLayer", "TransformerDecoderLayer"});
  WrapFsdp(model, "", options);
  for (const Value& unit : FsdpUnits(model)) {
    t.Strict("C1", Equal("world size of the unit", int64_t{1}, unit.AsDict().At("world_size").AsInt()));
  }
  const FullState before = FullStateOf(t, model);
  WithStateDictType(model, StateDictKind::kSharded, [&] {
    Dict saved;
    t.NoError("C1", [&] { saved = model.StateDict(); });
    t.Strict("C1", Equal("entries", size_t{74}, saved.size()));
    saved = t.subject().Clone(saved).AsDict();
    model.Fill(0);
    Load(t, "C2", model, saved);
  });
  t.NoError("C3", [&] { t.AllGather(Value(int64_t{t.rank()})); });
  const Dict after = FullStateOf(t, model).parameters;
  for (const auto& [name, value] : before.parameters) {
    t.Strict("C2", SameValue(ToString(name) + " after the load", value, after.At(name)));
  }
}

}  // namespace shardcts::fsdp_state_dict
