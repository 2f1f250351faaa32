#include "suites/storage/placed.h"

#include <ATen/ATen.h>

#include "contract/parts.h"
#include "rank/session.h"
#include "suites/rules/coded.h"

namespace shardcts::storage {
namespace {

Placement PlacementOf(std::string_view text) {
  const auto number = [&](size_t begin, size_t count) { return std::stoll(std::string(text.substr(begin, count))); };
  if (text == "R") return Placement::Replicate();
  if (text == "P") return Placement::Partial();
  if (text.starts_with("S") && text.size() == 2) return Placement::Shard(number(1, 1));
  if (text.starts_with("_S") && text.size() == 5) return Placement::StridedShard(number(2, 1), number(4, 1));
  throw HarnessError(fmt::format("\"{}\" is no placement of a rule", text));
}

std::vector<int64_t> StridesOf(const std::vector<int64_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t dim = shape.size(); dim-- > 1;) strides[dim - 1] = strides[dim] * std::max<int64_t>(shape[dim], 1);
  return strides;
}

Value Placed(const Trial& t, const World& world, const PlacedTensor& tensor, const at::Tensor& whole) {
  if (tensor.placements.empty()) return whole.clone();
  return PartOf(whole, world.layout(), PlacementsOf(tensor.placements), t.rank());
}

}  // namespace

std::vector<Placement> PlacementsOf(std::string_view text) {
  std::vector<Placement> placements;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find('.', begin), text.size());
    placements.push_back(PlacementOf(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return placements;
}

DTensor PartOf(const at::Tensor& whole, const MeshLayout& mesh, const std::vector<Placement>& placements,
               int64_t rank) {
  DTensor part;
  part.local = LocalSlice(whole, mesh, placements, rank).clone(at::MemoryFormat::Contiguous);
  part.mesh = mesh;
  part.placements = placements;
  part.shape = whole.sizes().vec();
  part.stride = StridesOf(part.shape);
  return part;
}

Dict CodedState(const Trial& t, const World& world, const std::vector<PlacedTensor>& tensors) {
  Dict state;
  if (!world.Has(t.rank())) return state;
  const Dict wholes = WholeState(tensors);
  for (const PlacedTensor& tensor : tensors) {
    state.Set(tensor.name, Placed(t, world, tensor, wholes.At(tensor.name).AsTensor()));
  }
  return state;
}

Dict BlankState(const Trial& t, const World& world, const std::vector<PlacedTensor>& tensors) {
  Dict state;
  if (!world.Has(t.rank())) return state;
  for (const PlacedTensor& tensor : tensors) {
    const at::Tensor blank = at::full(tensor.shape, 1, at::TensorOptions().dtype(tensor.dtype));
    state.Set(tensor.name, Placed(t, world, tensor, blank));
  }
  return state;
}

Dict ClashingOnLast(const Trial& t, Dict state) {
  if (t.rank() == t.world_size() - 1) {
    state.Set("x.y", at::zeros({1}));
    state.Set("x", Dict{{"y", at::zeros({1})}});
  }
  return state;
}

Dict WholeState(const std::vector<PlacedTensor>& tensors) {
  Dict wholes;
  for (const PlacedTensor& tensor : tensors) {
    // Beyond the value of blank tensors.
    wholes.Set(tensor.name, rules::Coded(tensor.shape, static_cast<int64_t>(wholes.size()), 2, tensor.dtype));
  }
  return wholes;
}

void HasCoded(Trial& t, std::string_view what, const World& world, const std::vector<PlacedTensor>& tensors,
              const Dict& loaded) {
  if (!world.Has(t.rank())) return;
  const Dict expected = CodedState(t, world, tensors);
  t.Rule(SameNameSet(fmt::format("{}: names", what), expected.Keys(), loaded.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* actual = loaded.Find(name);
    if (actual) t.Rule(SameValue(fmt::format("{}: {}", what, ToString(name)), value, *actual));
  }
}

void HoldsCoded(Trial& t, std::string_view what, const std::vector<PlacedTensor>& tensors, const std::string& path) {
  const Dict expected = WholeState(tensors);
  const Dict actual = ReadCheckpoint(t.caller(), path);
  t.Rule(SameNameSet(fmt::format("{}: names", what), expected.Keys(), actual.Keys()));
  for (const auto& [name, value] : expected) {
    const Value* read = actual.Find(name);
    if (read) t.Rule(SameValue(fmt::format("{}: {}", what, ToString(name)), value, *read));
  }
}

void IsRefused(Trial& t, std::string_view what, const std::vector<std::string>& texts,
               const std::function<void()>& body) {
  try {
    body();
  } catch (const OperationFailed& failure) {
    bool all = true;
    for (const std::string& text : texts) {
      const bool has = failure.error().message.find(text) != std::string::npos;
      if (!has) t.Rule({false, fmt::format("{}: expected an error with \"{}\", actual {}", what, text, failure.what())});
      all = all && has;
    }
    if (all) t.Rule({});
    return;
  }
  t.Rule({false, fmt::format("{}: expected an error, actual none", what)});
}

void IsRefusedOnRank0(Trial& t, std::string_view what, const std::function<void()>& body) {
  bool refused = false;
  Rank0Does(t, [&] {
    try {
      body();
    } catch (const OperationFailed&) {
      refused = true;
    }
  });
  t.Rule(Holds(t.FromRank0(refused).AsBool(), std::string(what), "expected an error, actual none"));
}

}  // namespace shardcts::storage
