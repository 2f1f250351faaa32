#include "suites/fully_shard_state_dict/save_load.h"

#include <ATen/ATen.h>

#include "contract/parts.h"
#include "rank/layout.h"

namespace shardcts::fully_shard_state_dict {
namespace {

// What upstream stores of each parameter before it saves.
struct Before {
  std::vector<int64_t> shape;
  uintptr_t data = 0;
  uintptr_t storage = 0;
};

std::map<std::string, Before> Remember(const Dict& parameters) {
  std::map<std::string, Before> before;
  for (const auto& [name, value] : parameters)
    before[ToString(name)] = {GlobalShape(value), DataPointer(value), StoragePointer(value)};
  return before;
}

// Throws ContractViolation for a parameter that did not exist before the save.
const Before& BeforeOf(const std::map<std::string, Before>& before, const std::string& name) {
  const auto found = before.find(name);
  if (found == before.end()) throw ContractViolation(name + ": expected among the model's parameters, it is missing");
  return found->second;
}

// The part of a tensor of this shape that this rank is to hold.
at::Tensor ExpectedPart(Trial& t, const at::Tensor& full, const ExpectedLayout& expected,
                        const ExpectedParameter& parameter, const Value& actual) {
  const DTensor* own = actual.TryAs<DTensor>();
  if (own && !HasPytorchLayout(t)) return OwnSlice(t, full, *own);
  return LocalSlice(full, expected.mesh, parameter.placements, t.rank());
}

// The rows after the local part in its storage, if the storage is the padded shard; otherwise no elements.
at::Tensor Padding(const Value& value, const ExpectedParameter& expected, const MeshLayout& mesh) {
  const at::Tensor& local = LocalPart(value);
  const int64_t padded = LocalSlice(at::empty(expected.shape), mesh, expected.placements, mesh.ranks.front()).numel();
  const int64_t stored = static_cast<int64_t>(local.storage().nbytes() / local.element_size());
  if (stored != padded || local.storage_offset() != 0) return at::empty({0});
  at::Tensor whole = at::empty({0}, local.options());
  whole.set_(local.storage(), local.numel(), {padded - local.numel()}, {1});
  return whole;
}

void CheckParameters(Trial& t, const Model& model, const ExpectedLayout& expected,
                     const std::map<std::string, Before>& before) {
  const Dict parameters = model.Parameters();
  for (const ExpectedParameter& parameter : expected.parameters) {
    const Value& actual = parameters.At(parameter.name);
    t.Check("C3", Equal(parameter.name + ": global shape after state_dict", BeforeOf(before, parameter.name).shape,
                        GlobalShape(actual)));
    t.Strict("C3", Equal(parameter.name + ": global shape", parameter.shape, GlobalShape(actual)));
    t.Check("C4", IsParameter(parameter.name, actual));
  }
}

void CheckSavedEntry(Trial& t, const ExpectedLayout& expected, const ExpectedParameter& parameter, const Before& before,
                     const Value& saved) {
  const std::string& name = parameter.name;
  const at::Tensor slice = ExpectedPart(t, at::empty(parameter.shape), expected, parameter, saved);
  if (before.data == 0) {
    t.Check("C7", Holds(t.rank() > 0 || !HasPytorchLayout(t), name, "an empty shard on rank 0"));
    t.Check("C8", AllElementsAre(name, 0, saved));
  } else {
    t.Check("C9", Equal(name + ": address of the saved shard", before.data, DataPointer(saved)));
  }
  t.Strict("C9", Equal(name + ": storage of the saved shard", before.storage, StoragePointer(saved)));
  t.Strict("C7", Holds((slice.numel() == 0) == (before.data == 0), name,
                       before.data == 0 ? "an empty shard where ceil chunking leaves rows"
                                        : "rows where ceil chunking leaves none"));
  t.Strict("C8", Equal(name + ": local shape", slice.sizes().vec(), LocalPart(saved).sizes().vec()));
  if (!HasPytorchLayout(t)) return;
  t.Strict("C8", AllElementsAre(name + ": padding", 0, Padding(saved, parameter, expected.mesh)));
}

void CheckSaved(Trial& t, const ExpectedLayout& expected, const std::map<std::string, Before>& before,
                const std::vector<std::string>& names, const Dict& saved) {
  t.Check("C5", SameNameSet("state-dict keys", names, saved.Keys()));
  t.Strict("C5", SameNames("state-dict keys", expected.Names(), saved.Keys()));
  for (const ExpectedParameter& parameter : expected.parameters) {
    const Value* value = saved.Find(parameter.name);
    if (!value) continue;  // C5 has failed already
    t.Strict("C6", HasLayout(parameter.name, expected.mesh, parameter.placements, *value));
    if (t.Check("C6", IsDTensor(parameter.name, *value))) {
      CheckSavedEntry(t, expected, parameter, BeforeOf(before, parameter.name), *value);
    }
  }
}

// Clones of all entries, filled with a value that differs by rank.
Dict CloneFilled(Trial& t, const Dict& saved, double value) {
  const Value clones = t.subject().Clone(saved);
  t.subject().Fill(clones, value);
  return clones.AsDict();
}

void Load(Trial& t, Model& model, const Dict& state_dict) {
  LoadResult result;
  t.NoError("C11", [&] { result = model.LoadStateDict(state_dict); });
  t.Strict("C11", SameNames("missing keys", {}, result.missing_keys));
  t.Strict("C11", SameNames("unexpected keys", {}, result.unexpected_keys));
}

void CheckLoaded(Trial& t, const Model& model, const ExpectedLayout& expected,
                 const std::map<std::string, Before>& before, double value) {
  const Dict parameters = model.Parameters();
  for (const ExpectedParameter& parameter : expected.parameters) {
    const Value& actual = parameters.At(parameter.name);
    t.Check("C12", AllElementsAre(parameter.name + " after load", value, actual));
    const uintptr_t address = BeforeOf(before, parameter.name).data;
    const int64_t rows = ExpectedPart(t, at::empty(parameter.shape), expected, parameter, actual).size(0);
    // Upstream's own condition: it counts the ranks of the full mesh. The specified local shape decides, not the actual
    // one.
    if (rows * expected.mesh.Size() == parameter.shape[0]) {
      t.Check("C13", Equal(parameter.name + ": address after load", address, DataPointer(actual)));
    }
    if (SplitsEvenly(parameter, expected.mesh)) {
      t.Strict("C13", Equal(parameter.name + ": address after load", address, DataPointer(actual)));
    }
  }
}

// The entries with position-coded local parts.
Dict PositionCodedDict(Trial& t, const Dict& saved, const ExpectedLayout& expected) {
  Dict coded;
  for (size_t i = 0; i < expected.parameters.size(); ++i) {
    const ExpectedParameter& parameter = expected.parameters[i];
    DTensor entry = saved.At(parameter.name).AsDTensor();
    const at::Tensor full = PositionCoded(parameter.shape, static_cast<int64_t>(i));
    entry.local = ExpectedPart(t, full, expected, parameter, entry).clone().to(entry.local.device());
    entry.is_parameter = entry.requires_grad = false;
    coded.Set(parameter.name, entry);
  }
  return coded;
}

void CheckPositionCodedLoad(Trial& t, Model& model, const ExpectedLayout& expected, const Dict& saved) {
  const Dict coded = PositionCodedDict(t, saved, expected);
  Load(t, model, coded);
  const Dict state = model.StateDict();
  const Dict full = t.subject().FullTensors(state);
  for (size_t i = 0; i < expected.parameters.size(); ++i) {
    const ExpectedParameter& parameter = expected.parameters[i];
    t.Strict("C12", SameValue(parameter.name + ": local shard of position-coded data",
                              coded.At(parameter.name).AsDTensor().local, LocalPart(state.At(parameter.name))));
    t.Strict("C12", SameValue(parameter.name + ": full tensor of position-coded data",
                              PositionCoded(parameter.shape, static_cast<int64_t>(i)),
                              full.At(parameter.name).AsTensor()));
  }
}

}  // namespace

void CheckSaveAndLoad(Trial& t, Model& model, const ExpectedLayout& expected) {
  Dict parameters = model.Parameters();
  for (const auto& [name, value] : parameters) t.Check("C1", IsDTensor(ToString(name), value));
  model.Fill(1);
  const std::map<std::string, Before> before = Remember(parameters);

  Dict saved;
  t.NoError("C2", [&] { saved = model.StateDict(); });
  CheckParameters(t, model, expected, before);
  CheckSaved(t, expected, before, parameters.Keys(), saved);

  const double value = 42.0 + t.rank();
  const Dict new_values = CloneFilled(t, saved, value);
  for (const auto& [name, actual] : model.Parameters()) {
    t.Check("C10", AllElementsAre(ToString(name) + " while a copy is filled", 1, actual));
  }
  Load(t, model, new_values);
  CheckLoaded(t, model, expected, before, value);
  CheckPositionCodedLoad(t, model, expected, saved);
}

}  // namespace shardcts::fully_shard_state_dict
