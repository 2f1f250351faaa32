// Modules that no unit manages: skipped while wrapping, or ignored.
#include <ATen/ATen.h>

#include "suites/fsdp_state_dict/ports.h"
#include "suites/fsdp_state_dict/steps.h"

namespace shardcts::fsdp_state_dict {
namespace {

// Upstream's _create_module: units around the innermost Linear, NestedLinear and the root; linear_skip in none of them.
Model SkippingModel(Trial& t) {
  Model model = t.subject().Build("skip_model", {}, t.device());
  WrapFsdp(model, "nested_linear.nested_linear");
  WrapFsdp(model, "nested_linear");
  FsdpOptions root;
  root.skip_modules = {"linear_skip"};
  WrapFsdp(model, "", root);
  return model;
}

// Compares parameter by parameter; each pair must be equal, or each must differ.
void ComparePairs(Trial& t, std::string_view check, const Dict& expected, const Dict& actual, bool equal) {
  t.Strict(check, SameNameSet("parameters", expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    const Verification same = SameValue(ToString(name), value, actual.At(name));
    t.Check(check, equal ? same : Holds(!same.ok, ToString(name), "expected a difference"));
  }
}

Dict Copies(Trial& t, const Model& model) { return t.subject().Clone(model.Parameters()).AsDict(); }

// Names of the tensors that a state dict must not clone, with their addresses.
std::map<std::string, uintptr_t> LiveTensors(const Trial& t, const Model& model) {
  const bool ignore_inner = t.BoolParam("ignore_inner");
  std::map<std::string, uintptr_t> live;
  for (const auto& [name, value] : model.Parameters()) {
    if (ToString(name).starts_with("outer.") || ignore_inner) live[ToString(name)] = DataPointer(value);
  }
  for (const auto& [name, value] : model.Buffers()) {
    const std::string text = ToString(name);
    if (text.find("non_persistent") != std::string::npos) continue;
    // Mixed precision casts it, so that it cannot be the live one.
    if (text == "inner.buffer" && t.BoolParam("mixed_precision") && !ignore_inner) continue;
    live[text] = DataPointer(value);
  }
  return live;
}

Dict WithoutPrefix(const Dict& saved, const std::string& prefix) {
  Dict stripped;
  for (const auto& [name, value] : saved) stripped.Set(ToString(name).substr(prefix.size()), value);
  return stripped;
}

}  // namespace

PORT(test_state_dict_skip_module) {
  const StateDictKind kind = KindOf(t);
  const bool local = kind == StateDictKind::kLocal;
  Model model = SkippingModel(t);
  t.NoError("C1", [&] { model.Backward(model.Forward({RandomInput(t, {1, 10})})); });
  Dict saved;
  WithStateDictType(model, kind, [&] { t.NoError("C2", [&] { saved = model.StateDict(); }); });

  Model plain = t.subject().Build("skip_model", {}, t.device());
  if (t.rank() == 0 && !local) {
    t.Check("C3", SameNameSet("state-dict keys",
                              {"linear.weight", "linear_skip.lin.weight", "nested_linear.nested_linear.weight"},
                              saved.Keys()));
  }
  Model other = SkippingModel(t);
  Zero(other);
  ComparePairs(t, "C4", Copies(t, model), Copies(t, other), false);
  WithStateDictType(other, kind, [&] {
    if (!local) t.NoError("C5", [&] { saved = t.subject().Clone(saved).AsDict(); });
    Load(t, "C6", other, saved);
  });
  ComparePairs(t, "C7", Copies(t, model), Copies(t, other), true);

  plain.Fill(0);
  WithFullParams(model, [&] { ComparePairs(t, "C8", Copies(t, model), Copies(t, plain), false); });
  if (local) return;
  t.NoError("C9", [&] { saved = GatherStateDict(model.caller(), saved); });
  WithFullParams(model, [&] {
    const Dict full = Copies(t, model);
    t.Among({0}, [&] {
      Load(t, "C10", plain, saved);
      ComparePairs(t, "C11", full, Copies(t, plain), true);
    });
  });
}

PORT(test_state_dict_with_ignored_modules) {
  const StateDictKind kind = KindOf(t);
  const std::string prefix = t.BoolParam("prefix") ? "foo." : "";
  FsdpOptions inner, root;
  if (t.BoolParam("mixed_precision")) inner.mixed_precision = root.mixed_precision = HalfPrecision();
  if (t.BoolParam("ignore_inner")) inner.ignored_modules = {"inner"};
  root.ignored_modules = {"outer"};

  Model model = t.subject().Build("inner_outer", {{"register_buffers", true}});
  WrapFsdp(model, "inner", inner);
  model.To(t.device());
  const std::map<std::string, uintptr_t> live = LiveTensors(t, model);
  const Dict buffers_before = t.subject().Clone(model.Buffers()).AsDict();
  WrapFsdp(model, "", root);

  Dict first, second;
  WithStateDictType(
      model, kind, [&] { t.NoError("C1", [&] { first = GatherStateDict(model.caller(), model.StateDict(prefix)); }); });
  const Dict full = FullStateOf(t, model).parameters;
  for (const auto& [name, address] : live) {
    const Value* saved = first.Find(prefix + name);
    if (!t.Check("C2", Holds(saved != nullptr, prefix + name, "is no key of the state dict"))) continue;
    t.Check("C3", Equal(name + ": address of the saved value", address, DataPointer(*saved)));
    if (!buffers_before.Contains(name)) continue;
    t.Check("C4", Holds(true, prefix + name, "is a key of the state dict"));
    t.Check("C5", Holds(DtypeOf(*saved) == at::kFloat, name, "expected float32, actual " + ToString(*saved)));
  }

  Model plain = t.subject().Build("inner_outer", {{"register_buffers", true}}, t.device());
  plain.Fill(0);
  Load(t, "C6", plain, WithoutPrefix(first, prefix));
  ExpectSame(t, "C7", full, t.subject().Clone(plain.Parameters()).AsDict());

  WithStateDictType(model, kind, [&] { t.NoError("C11", [&] { second = model.StateDict(prefix); }); });
  for (const auto& [name, address] : live) {
    const Value* saved = second.Find(prefix + name);
    if (!t.Check("C8", Holds(saved != nullptr, prefix + name, "is no key of the second state dict"))) continue;
    t.Check("C9", Equal(name + ": address of the value saved again", address, DataPointer(*saved)));
    if (const Value* before = first.Find(prefix + name)) {
      t.Check("C10", Equal(name + ": addresses of both", DataPointer(*before), DataPointer(*saved)));
    }
  }
}

}  // namespace shardcts::fsdp_state_dict
