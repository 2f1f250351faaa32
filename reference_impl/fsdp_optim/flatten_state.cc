#include "fsdp_optim/flatten_state.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "fsdp_optim/state_entries.h"
#include "optim/optimizer.h"
#include "serialization/value_bytes.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

// One state of all members; nullptr: the member has no state, or not this one.
struct MemberValues {
  const UnitMembers& unit;
  Key name;
  std::vector<const Value*> values;
  std::string Text() const { return "state " + ToString(name) + " and unflattened parameter names " + ListText(unit.fqns); }
};

[[noreturn]] void Refuse(const std::string& what) { throw SemanticError("ValueError", what); }

[[noreturn]] void RefuseShape(const std::string& fqn, const Key& name, const std::vector<int64_t>& expected,
                              const TensorOutline& actual) {
  Refuse("Tensor optimizer state does not have same shape as its parameter: \"" + ToString(name) + "\" of \"" + fqn +
         "\": expected " + ShapeToString(expected) + ", actual " + ShapeToString(actual.shape));
}

void CheckSameNames(const UnitMembers& unit, const Dict& state) {
  std::optional<std::set<Key>> names;
  for (const std::string& fqn : unit.fqns) {
    const Value* entry = state.Find(fqn);
    if (!entry) continue;
    std::set<Key> here;
    for (const auto& [name, value] : entry->AsDict()) here.insert(name);
    if (names && *names != here) {
      Refuse("Differing optimizer state names for the unflattened parameters: " + ListText(unit.fqns));
    }
    names = std::move(here);
  }
}

MemberValues ValuesOf(const UnitMembers& unit, const Dict& state, const Key& name) {
  MemberValues found{unit, name, {}};
  for (const std::string& fqn : unit.fqns) {
    const Value* entry = state.Find(fqn);
    const Value* value = entry ? &entry->AsDict().At(name) : nullptr;
    found.values.push_back(value && !value->IsNone() ? value : nullptr);
  }
  return found;
}

// 0, 1, 2: tensors with dimensions, without, plain values.
int KindOf(const Value& value) { return OutlineOf(value) ? 0 : IsTensorWithoutDims(value) ? 1 : 2; }

void CheckSameKind(const MemberValues& members, const Value& first) {
  for (const Value* value : members.values) {
    if (!value) continue;
    const bool same_type = KindOf(first) == 0 || value->type() == first.type();
    if (KindOf(*value) != KindOf(first) || !same_type) {
      Refuse("Differing optimizer state types for " + members.Text());
    }
  }
}

// The shard of a flat state, with zeros outside the ranges that members fill.
at::Tensor ShardFor(const MemberValues& members, at::ScalarType dtype) {
  const FlatParameter& flat = members.unit.flat();
  const at::Tensor shard = at::empty({flat.layout().ShardNumel()}, members.unit.On(dtype));
  int64_t end = 0;
  for (size_t i = 0; i < members.values.size(); ++i) {
    const FlatSlice slice = flat.layout().SliceOf(i, flat.rank());
    if (!members.values[i] || slice.numel == 0) continue;
    shard.slice(0, end, slice.begin_in_shard).zero_();
    end = slice.begin_in_shard + slice.numel;
  }
  shard.slice(0, end).zero_();
  return shard;
}

Value EmptyShard(const MemberValues& members, const Value& first) {
  const at::ScalarType dtype = OutlineOf(first)->dtype;
  for (size_t i = 0; i < members.values.size(); ++i) {
    const std::vector<int64_t>& shape = members.unit.flat().shape(i);
    if (!members.values[i]) {
      if (shape.empty()) Refuse("Flattening a zero-dimension parameter is not supported");
      continue;
    }
    const TensorOutline outline = *OutlineOf(*members.values[i]);
    if (outline.dtype != dtype) {
      Refuse("All unflattened parameters comprising a single flat parameter must have positive-dimension tensor state "
             "with the same dtype but got others for " +
             members.Text());
    }
    if (outline.shape != shape) RefuseShape(members.unit.fqns[i], members.name, shape, outline);
  }
  return ShardFor(members, dtype);
}

// The zero-dimensional value that all members have.
Value CommonScalar(const MemberValues& members, const Value& first) {
  const std::string expected = ToBytes(first, {});
  std::string values;
  bool agree = true;
  for (const Value* value : members.values) {
    values += (values.empty() ? "" : ", ") + (value ? ToString(*value) : "None");
    agree &= value && ToBytes(*value, {}) == expected;
  }
  if (!agree) {
    Refuse("All unflattened parameters comprising a single flat parameter must have scalar state with the same value and "
           "dtype but got values {" +
           values + "} for " + members.Text());
  }
  const auto* tensor = first.TryAs<Tensor>();
  return tensor ? Value(tensor->data.detach().to(at::kCPU, /*non_blocking=*/false, /*copy=*/true)) : first;
}

}  // namespace

Dict FlatOutline(const UnitMembers& unit, const Dict& state) {
  CheckSameNames(unit, state);
  Dict outline;
  for (const auto& [name, unused] : EntryOf(state, unit.fqns.front().c_str()).AsDict()) {
    const MemberValues members = ValuesOf(unit, state, name);
    const auto first = std::ranges::find_if(members.values, [](const Value* value) { return value != nullptr; });
    if (first == members.values.end()) {
      outline.Set(name, {});
      continue;
    }
    CheckSameKind(members, **first);
    outline.Set(name, KindOf(**first) == 0 ? EmptyShard(members, **first) : CommonScalar(members, **first));
  }
  if (outline.empty()) {
    throw SemanticError("RuntimeError", "The state of " + ListText(unit.fqns) +
                                            " is empty. This should happen when use_orig_params=True.");
  }
  return outline;
}

Dict SliceOutline(const UnitMembers& unit, size_t member, const Dict& state) {
  const FlatParameter& flat = unit.flat();
  const int64_t numel = flat.layout().SliceOf(member, flat.rank()).numel;
  Dict outline;
  for (const auto& [name, value] : state) {
    const std::optional<TensorOutline> tensor = OutlineOf(value);
    if (tensor && tensor->shape != flat.shape(member)) RefuseShape(unit.fqns[member], name, flat.shape(member), *tensor);
    if (!tensor || !flat.is_sharded()) {
      outline.Set(name, value);
      continue;
    }
    outline.Set(name, at::empty({numel}, unit.On(tensor->dtype)));
  }
  const bool has_elements = flat.layout().parameters.at(member).numel > 0;
  return numel > 0 || !has_elements ? outline : Dict();
}

at::Tensor PlaceOf(const Member& member, const Key& name, at::ScalarType dtype, const Dict& outline) {
  if (outline.empty()) return at::empty({0}, member.unit.On(dtype));
  const FlatParameter& flat = member.unit.flat();
  const FlatSlice slice = flat.layout().SliceOf(member.index, flat.rank());
  const int64_t begin = flat.options().use_orig_params ? 0 : slice.begin_in_shard;
  return outline.At(name).AsTensor().narrow(0, begin, slice.numel);
}

}  // namespace shardcts::reference
