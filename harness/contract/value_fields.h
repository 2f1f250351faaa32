// The fields of the composite values, and the kinds of a value, in one place: JSON (json_codec.h), bytes
// (value_bytes.h), text (print.cc) and comparison (compare.h) all follow from here.
#pragma once

#include <concepts>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "contract/value.h"

namespace shardcts {

// A field's name, as JSON has it, and the pointer to the member.
template <class Member>
struct Field {
  std::string_view name;
  Member member;
};
template <class Member>
Field(std::string_view, Member) -> Field<Member>;

// A tuple of all fields, in their order in JSON and bytes.
template <class T>
inline constexpr std::monostate kFields{};
template <>
inline constexpr std::tuple kFields<MeshLayout>{
    Field{"device_type", &MeshLayout::device_type}, Field{"shape", &MeshLayout::shape},
    Field{"dim_names", &MeshLayout::dim_names}, Field{"ranks", &MeshLayout::ranks}};
template <>
inline constexpr std::tuple kFields<Tensor>{Field{"data", &Tensor::data}, Field{"is_parameter", &Tensor::is_parameter}};
template <>
inline constexpr std::tuple kFields<DTensor>{
    Field{"local", &DTensor::local},           Field{"mesh", &DTensor::mesh},
    Field{"placements", &DTensor::placements}, Field{"shape", &DTensor::shape},
    Field{"stride", &DTensor::stride},         Field{"requires_grad", &DTensor::requires_grad},
    Field{"is_parameter", &DTensor::is_parameter}};
template <>
inline constexpr std::tuple kFields<ShardMetadata>{
    Field{"offsets", &ShardMetadata::offsets}, Field{"sizes", &ShardMetadata::sizes},
    Field{"rank", &ShardMetadata::rank}, Field{"device", &ShardMetadata::device}};
template <>
inline constexpr std::tuple kFields<LocalShard>{Field{"metadata", &LocalShard::metadata},
                                                Field{"tensor", &LocalShard::tensor}};
template <>
inline constexpr std::tuple kFields<ShardedTensor>{
    Field{"shape", &ShardedTensor::shape}, Field{"dtype", &ShardedTensor::dtype}, Field{"ranks", &ShardedTensor::ranks},
    Field{"metadata", &ShardedTensor::metadata}, Field{"local_shards", &ShardedTensor::local_shards}};

template <class T>
concept Composite = !std::same_as<std::remove_const_t<decltype(kFields<T>)>, std::monostate>;

// visit(name, pointer to member) for each field of T.
template <Composite T, class Visit>
void ForEachField(const Visit& visit) {
  std::apply([&](const auto&... field) { (visit(field.name, field.member), ...); }, kFields<T>);
}

// visit(what the value holds): std::monostate, bool, int64_t, double, std::string, Bytes, List, Dict, Tensor, DTensor,
// ShardedTensor or Handle.
template <class Visit>
auto VisitValue(const Value& value, const Visit& visit) {
  switch (value.type()) {
    case Value::Type::kNone: break;
    case Value::Type::kBool: return visit(*value.TryAs<bool>());
    case Value::Type::kInt: return visit(*value.TryAs<int64_t>());
    case Value::Type::kDouble: return visit(*value.TryAs<double>());
    case Value::Type::kString: return visit(*value.TryAs<std::string>());
    case Value::Type::kBytes: return visit(*value.TryAs<Bytes>());
    case Value::Type::kList: return visit(*value.TryAs<List>());
    case Value::Type::kDict: return visit(*value.TryAs<Dict>());
    case Value::Type::kTensor: return visit(*value.TryAs<Tensor>());
    case Value::Type::kDTensor: return visit(*value.TryAs<DTensor>());
    case Value::Type::kShardedTensor: return visit(*value.TryAs<ShardedTensor>());
    case Value::Type::kHandle: return visit(*value.TryAs<Handle>());
  }
  return visit(std::monostate());
}

}  // namespace shardcts
