// Tied tensors and buffers: models on the meta device, tied parameters in training, and extra state of every type.
#include <ATen/ATen.h>

#include <algorithm>

#include "contract/dsd.h"
#include "suites/extended/comparison.h"
#include "suites/extended/optimizer_state.h"
#include "suites/extended/rule.h"
#include "suites/extended/training.h"
#include "suites/extended/trees.h"

namespace shardcts::extended {
namespace {

// An embedding of 7 rows and a decoder with the same weight; input as training.h has it.
ModelSpec TiedForTraining() {
  const Dict embedding{{"kind", "embedding"}, {"count", 7}, {"out", 3}};
  return TreeSpec({{"kind", "sequential"}, {"children", Dict{{"embedding", embedding}, {"decoder", LinearNode(7)}}}},
                  {{"in", 3}, {"scale", 0x1p-15}, {"ties", List{List{"embedding.weight", "decoder.weight"}}}});
}

// A parameter, a persistent buffer, and one that is not.
ModelSpec WithScratchBuffer() {
  return TreeSpec(LinearNode(3, {{"buffers", Dict{{"kept", TensorNode({5})},
                                                  {"scratch", TensorNode({2}, "float32", {{"persistent", false}})}}}}));
}

// On the meta device, wrapped, and loaded from the twin's state; what the load reports.
LoadResult LoadOntoMeta(Trial& t, const ModelSpec& spec, std::optional<Model>& model) {
  const std::string form = t.TextParam("form");
  model = BuildCoded(t, spec, "meta");
  Wrap(t, *model, spec, t.TextParam("wrapper"));
  const bool gives = form != "dsd_broadcast" || t.rank() == 0;
  return SetState(*model, form, gives ? Twin(spec).StateDict() : Dict{});
}

// Values that few would test: none, or these, of which the last three are nested.
std::vector<Value> RareValues(const std::string& which) {
  if (which == "none") return {Value()};
  return {Value(Bytes{std::string("\0\xff bytes", 8)}),
          Value(""),
          Value(int64_t{-9007199254740993}),
          Value(at::full({}, c10::complex<float>(1, -2), at::kComplexFloat)),
          Value(at::zeros({0, 3}, at::kBFloat16)),
          Value(Dict{{1, Dict{{2, at::arange(3)}, {"two", List{}}}}}),
          Value(List{List{Value(), 1, 2.5}, Dict{}, "x.y"}),
          Value(Dict{{"a.b", List{at::ones({2}, at::kBool), Bytes{"b"}}}})};
}

ModelSpec WithExtraStates(const std::vector<Value>& values) {
  Dict children;
  for (size_t i = 0; i < values.size(); ++i) {
    children.Set("m" + std::to_string(i), LinearNode(4, {{"extra_state", values[i]}}));
  }
  return TreeSpec({{"kind", "sequential"}, {"children", children}});
}

// The options that get and set take in a case.
std::pair<StateDictOptions, StateDictOptions> OptionsNamed(const std::string& name) {
  if (name == "none") return {{}, {}};
  if (name == "cpu_offload") return {{.cpu_offload = true}, {.cpu_offload = true}};
  if (name == "full") return {{.full_state_dict = true}, {.full_state_dict = true}};
  if (name == "ignore_frozen") return {{.ignore_frozen_params = true}, {.strict = false}};
  if (name == "flatten") return {{.flatten_optimizer_state_dict = true}, {.flatten_optimizer_state_dict = true}};
  return {{.full_state_dict = true, .cpu_offload = true}, {.full_state_dict = true, .broadcast_from_rank0 = true}};
}

}  // namespace

RULE(TB3) {
  const ModelSpec spec = TiedForTraining();
  std::optional<Model> model;
  LoadOntoMeta(t, spec, model);
  const Dict all = model->Parameters(/*remove_duplicate=*/false);
  t.Rule(Equal("decoder.weight: storage of embedding.weight", StoragePointer(all.At("embedding.weight")),
               StoragePointer(all.At("decoder.weight"))));
  t.Rule(SameNames("parameters: a tied one under its first name", Twin(spec).Parameters().Keys(),
                   model->Parameters().Keys()));
  SameWholeState(t, "values", Twin(spec).Parameters(), model->Parameters());
}

RULE(TB4) {
  const ModelSpec spec = TiedForTraining();
  const std::string wrapper = t.TextParam("wrapper");
  const std::string form = t.TextParam("form");
  constexpr int64_t kSteps = 3;
  Model model = LoadedFromCoded(t, spec, wrapper, form);
  const Optimizer optimizer = t.subject().CreateOptimizer(model, "sgd", TrainingOptions("sgd"));
  Train(t, model, {optimizer}, 0, kSteps, PartOf(t, wrapper));
  Twin twin(spec);
  TwinOptimizer of_twin(twin, "sgd", TrainingOptions("sgd"));
  Train(twin, of_twin, 0, kSteps);
  SameAsTwin(t, "after a load and 3 steps", twin, kSteps, model.Parameters());
}

RULE(TB9) {
  const ModelSpec spec = WithScratchBuffer();
  std::optional<Model> model;
  LoadResult result;
  try {
    result = LoadOntoMeta(t, spec, model);
  } catch (const OperationFailed& failed) {
    const std::string& message = failed.error().message;
    t.Rule(Holds(message.find("scratch") != message.npos, "an error of the load", "does not name scratch: " + message));
    return;
  }
  const auto named = [&](const std::string& name) { return std::ranges::count(result.missing_keys, name) > 0; };
  const Dict expected = Twin(spec).StateDict();
  Dict found = model->Parameters();
  for (const auto& [name, value] : model->Buffers()) found.Set(name, value);
  for (const auto& [key, value] : found) {
    const std::string name = ToString(key);
    const bool on_meta = LocalPart(value).is_meta();
    t.Rule(Holds(!on_meta || named(name), name, "is on the meta device, and missing_keys does not name it"));
  }
  for (const auto& [key, value] : expected) t.Rule(Holds(!named(ToString(key)), ToString(key), "is named as missing"));
  found.Erase("scratch");
  if (std::ranges::none_of(found, [](const auto& entry) { return LocalPart(entry.value).is_meta(); })) {
    HasEntries(t, "values", expected, found);
  }
}

RULE(TB11) {
  const std::vector<Value> values = RareValues(t.TextParam("values"));
  const auto [save, load] = OptionsNamed(t.TextParam("options"));
  const std::string wrapper = t.TextParam("wrapper");
  Model saved = BuildWrapped(t, WithExtraStates(values), wrapper);
  const Dict state = GetModelStateDict(saved, save);
  Model loaded = BuildWrapped(t, WithExtraStates(std::vector<Value>(values.size(), Value("old"))), wrapper);
  SetModelStateDict(loaded, state, load);
  const Dict again = GetModelStateDict(loaded);
  for (size_t i = 0; i < values.size(); ++i) {
    const std::string name = fmt::format("m{}._extra_state", i);
    if (state.Contains(name)) t.Rule(SameValue(name + " in the dict", values[i], state.At(name)));
    t.Rule(SameValue(name + " after the load", values[i], again.At(name)));
  }
}

RULE(TB19) {
  const ModelSpec spec{.name = "tied_embedding", .args = {{"vocab", 12}, {"dim", 3}}};
  Model model = BuildCoded(t, spec, "meta");
  Wrap(t, model, spec, t.TextParam("wrapper"));
  Dict given = Twin(spec).StateDict();
  given.Erase(t.TextParam("missing"));
  SetModelStateDict(model, given, {.full_state_dict = true, .strict = false});
  const Dict parameters = model.Parameters(/*remove_duplicate=*/false);
  const Value &first = parameters.At("embedding.weight"), &second = parameters.At("decoder.weight");
  if (!t.Rule(Holds(!LocalPart(first).is_meta() && !LocalPart(second).is_meta(), "a name of the tied parameter",
                    "is on the meta device"))) {
    return;
  }
  t.Rule(Equal("address", StoragePointer(first), StoragePointer(second)));
}

}  // namespace shardcts::extended
