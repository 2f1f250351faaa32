// Tied parameters and shared modules: stored once, saved under every name.
#include <ATen/ATen.h>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {
namespace {

// Adds one to every parameter and buffer that is zero everywhere, so that a loaded state differs from a zeroed one.
void MakeAllNonZero(Trial& t, Model& model) {
  WithFullParams(model, [&] {
    Dict changed;
    for (const Dict& tensors : {model.Parameters(), model.Buffers()}) {
      for (const auto& [name, value] : tensors) {
        const at::Tensor& tensor = value.AsTensor();
        if (tensor.eq(0).all().item<bool>()) changed.Set(name, at::ones_like(tensor.detach()));
      }
    }
    model.SetValues(changed);
  });
}

// Parameters, then buffers, as upstream's _assert_module_states lists them; of every rank.
std::vector<Value> StatesOfAllRanks(Trial& t, const Model& model) {
  Dict states;
  for (const Dict& tensors : {model.Parameters(), model.Buffers()}) {
    const Value copies = t.subject().Clone(tensors);
    for (const auto& [name, value] : copies.AsDict()) states.Set(name, value);
  }
  return t.AllGather(t.subject().To(states, "cpu"));
}

// Compares each state of rank 0 with that of every other rank.
void CompareRanks(Trial& t, const std::vector<Value>& states, std::string_view count, std::string_view check,
                  bool equal) {
  const Dict& first = states.front().AsDict();
  for (size_t rank = 1; rank < states.size(); ++rank) {
    const Dict& other = states[rank].AsDict();
    t.Check(count, Equal("module states", first.size(), other.size()));
    t.Strict(count, SameNames("module states", first.Keys(), other.Keys()));
    for (const auto& [name, value] : first) {
      const Verification same = SameValue(ToString(name), value, other.At(name));
      t.Check(check, equal ? same : Holds(!same.ok, ToString(name), "expected a difference between the ranks"));
    }
  }
}

}  // namespace

PORT(test_state_dict_with_shared_parameters) {
  const StateDictKind kind = KindOf(t);
  Model model = SharedParametersModel(t);
  Dict saved;
  WithStateDictType(model, kind, [&] { t.NoError("C1", [&] { saved = model.StateDict(); }); });
  const size_t entries = kind == StateDictKind::kLocal ? 10 : 74;
  t.Strict("C1", Equal("entries", entries, saved.size()));

  const FullState before = FullStateOf(t, model);
  Model other = SharedParametersModel(t);
  Zero(other, true);
  WithStateDictType(other, kind, [&] { Load(t, "C2", other, saved); });
  const FullState after = FullStateOf(t, other);
  for (const auto& [expected, actual] :
       {std::pair{before.parameters, after.parameters}, {before.buffers, after.buffers}}) {
    t.Strict("C2", SameNames("names after the load", expected.Keys(), actual.Keys()));
    for (const auto& [name, value] : expected) {
      t.Strict("C2", SameValue(ToString(name) + " after the load", value, actual.At(name)));
    }
  }
}

PORT(test_state_dict_rank0_offload_save_load_flow) {
  FsdpOptions options;
  options.use_orig_params = t.BoolParam("use_orig_params");
  Model model = SharedParametersModel(t, options);
  MakeAllNonZero(t, model);

  Dict saved;
  WithStateDictType(model, StateDictKind::kFull, ConfigFor(StateDictKind::kFull, true), [&] {
    t.NoError("C1", [&] {
      model.To(t.device());
      saved = t.subject().Clone(model.StateDict()).AsDict();
    });
  });
  t.Strict("C1", Equal("entries", t.rank() == 0 ? size_t{74} : size_t{0}, saved.size()));

  Model other = t.subject().Build("transformer_with_shared_params", {}, t.device());
  other.Fill(0, true);
  t.Among({0}, [&] { Load(t, "C2", other, saved); });
  CompareRanks(t, StatesOfAllRanks(t, other), "C3", "C4", false);

  t.NoError("C5", [&] {
    FsdpOptions synchronized;
    synchronized.device_id = true;
    synchronized.sync_module_states = true;
    synchronized.auto_wrap_policy = AutoWrapPolicy::Classes({"TransformerEncoderLayer", "TransformerDecoderLayer"});
    WrapFsdp(other, "", synchronized);
  });
  std::vector<Value> states;
  WithFullParams(other, [&] { states = StatesOfAllRanks(t, other); });
  CompareRanks(t, states, "C6", "C7", true);
  ExpectSame(t, "C8", FullStateOf(t, model).parameters, FullStateOf(t, other).parameters);
}

PORT(test_shared_module_and_shared_parameter) {
  Model model = t.subject().Build("dummy_shared", {}, t.device());
  const Dict plain = t.subject().Clone(model.StateDict()).AsDict();
  WrapFsdp(model, "");
  Dict saved;
  WithStateDictType(model, StateDictKind::kFull, [&] { t.NoError("C1", [&] { saved = model.StateDict(); }); });
  t.Strict("C1", SameNameSet("state-dict keys", plain.Keys(), saved.Keys()));
  const std::pair<const char*, std::pair<const char*, const char*>> pairs[] = {
      {"C2", {"random_parameter", "shared_parameter"}},
      {"C3", {"net2.0.bias", "net3.0.bias"}},
      {"C4", {"net2.0.weight", "net3.0.weight"}}};
  for (const auto& [check, names] : pairs) {
    t.Check(check, SameValue(names.second, saved.At(names.first), saved.At(names.second)));
    t.Strict(check, SameValue(names.first, plain.At(names.first), saved.At(names.first)));
  }
}

}  // namespace shardcts::fsdp_state_dict
