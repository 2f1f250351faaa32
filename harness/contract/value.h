// Value: everything that is passed between the suites and an implementation.
//
// Values are plain and copyable. Tensors are shared, not copied: a copied Value refers to the same storage.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "contract/placement.h"

namespace shardcts {

class Value;
class Dict;
using List = std::vector<Value>;
using Key = std::variant<std::string, int64_t>;

std::string ToString(const Key& key);

struct Bytes {
  std::string data;
  bool operator==(const Bytes&) const = default;
};

// A plain tensor. `is_parameter`: the implementation holds it as a parameter (PyTorch: an nn.Parameter).
struct Tensor {
  at::Tensor data;
  bool is_parameter = false;
};

// A distributed tensor as one rank sees it. Semantics: torch.distributed.tensor.DTensor.
struct DTensor {
  at::Tensor local;                     // the local tensor, without padding; shares the implementation's storage
  MeshLayout mesh;
  std::vector<Placement> placements;    // one per mesh dimension
  std::vector<int64_t> shape;           // global
  std::vector<int64_t> stride;          // global, of the unsharded tensor
  bool requires_grad = false;
  bool is_parameter = false;
};

// Semantics: torch.distributed._shard.sharded_tensor.
struct ShardMetadata {
  std::vector<int64_t> offsets;         // elements, one per tensor dimension
  std::vector<int64_t> sizes;
  int64_t rank = 0;                     // global
  std::string device;
  bool operator==(const ShardMetadata&) const = default;
};
struct LocalShard {
  ShardMetadata metadata;
  at::Tensor tensor;
};
struct ShardedTensor {
  std::vector<int64_t> shape;           // global
  std::vector<ShardMetadata> metadata;  // all shards, known on every rank
  std::vector<LocalShard> local_shards;
  at::ScalarType dtype = at::kFloat;    // also of a rank that has no shard
  std::vector<int64_t> ranks;           // global ranks of its process group, in the group's order
};

// Names an object that lives inside the implementation. Valid until `implementation.reset`.
struct Handle {
  std::string kind;                     // "model", "mesh", "optimizer", "group", "scope"
  int64_t id = 0;
  bool operator==(const Handle&) const = default;
};

// An ordered dict. Keys are unique; order is insertion order.
class Dict {
 public:
  struct Entry;
  Dict();
  Dict(std::initializer_list<Entry> entries);
  Dict(const Dict&);
  Dict(Dict&&) noexcept;
  Dict& operator=(const Dict&);
  Dict& operator=(Dict&&) noexcept;
  ~Dict();

  // Replaces the value of an existing key, otherwise appends.
  void Set(Key key, Value value);
  // nullptr when the key is missing.
  const Value* Find(const Key& key) const&;
  Value* Find(const Key& key) &;
  const Value* Find(const Key& key) && = delete;  // would dangle
  // The key must be there: throws ContractViolation naming it otherwise.
  const Value& At(const Key& key) const&;
  Value At(const Key& key) &&;
  bool Contains(const Key& key) const { return Find(key) != nullptr; }
  bool Erase(const Key& key);
  size_t size() const;
  bool empty() const { return size() == 0; }
  std::vector<std::string> Keys() const;  // int keys as text

  std::vector<Entry>::iterator begin();
  std::vector<Entry>::iterator end();
  std::vector<Entry>::const_iterator begin() const;
  std::vector<Entry>::const_iterator end() const;

 private:
  std::vector<Entry> entries_;
};

// Where a value came from: the step number of a recorded operation and the path inside its result. With it a recording
// says "the result of step 7" instead of repeating the bytes. Never part of a comparison.
struct Origin {
  int64_t step = 0;
  std::vector<Key> path;
};

// Thrown when a value does not have the type or key that the contract promises. Caught at the implementation boundary
// (a fault of the implementation) and in the rank process (a fault of the test).
class ContractViolation : public std::exception {
 public:
  explicit ContractViolation(std::string message) : message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

class Value {
 public:
  enum class Type { kNone, kBool, kInt, kDouble, kString, kBytes, kList, kDict, kTensor, kDTensor, kShardedTensor, kHandle };

  Value();
  Value(const Value&);
  Value(Value&&) noexcept;
  Value& operator=(const Value&);
  Value& operator=(Value&&) noexcept;
  ~Value();
  Value(std::nullptr_t) {}
  Value(bool value) : data_(value) {}
  Value(int value) : data_(static_cast<int64_t>(value)) {}
  Value(int64_t value) : data_(value) {}
  Value(double value) : data_(value) {}
  Value(const char* value) : data_(std::string(value)) {}
  Value(std::string_view value) : data_(std::string(value)) {}
  Value(std::string value) : data_(std::move(value)) {}
  Value(Bytes value) : data_(std::move(value)) {}
  Value(List value) : data_(std::move(value)) {}
  Value(Dict value) : data_(std::move(value)) {}
  Value(at::Tensor value) : data_(Tensor{std::move(value)}) {}
  Value(Tensor value) : data_(std::move(value)) {}
  Value(DTensor value) : data_(std::move(value)) {}
  Value(ShardedTensor value) : data_(std::move(value)) {}
  Value(Handle value) : data_(std::move(value)) {}

  Type type() const { return static_cast<Type>(data_.index()); }
  std::string_view TypeName() const;
  bool IsNone() const { return type() == Type::kNone; }

  template <class T>
  const T* TryAs() const& {
    return std::get_if<T>(&data_);
  }
  template <class T>
  T* TryAs() & {
    return std::get_if<T>(&data_);
  }
  template <class T>
  const T* TryAs() && = delete;  // would dangle

  // The value as the named type; throws ContractViolation ("expected dict, got int 3") otherwise. Of a temporary it
  // returns a copy, so that no reference dangles.
  bool AsBool() const;
  int64_t AsInt() const;
  double AsDouble() const;  // ints convert
  const std::string& AsString() const&;
  std::string AsString() &&;
  const List& AsList() const&;
  List AsList() &&;
  const Dict& AsDict() const&;
  Dict AsDict() &&;
  Dict& AsDict() &;
  const at::Tensor& AsTensor() const&;
  at::Tensor AsTensor() &&;
  const DTensor& AsDTensor() const&;
  DTensor AsDTensor() &&;
  DTensor& AsDTensor() &;
  const ShardedTensor& AsShardedTensor() const&;
  ShardedTensor AsShardedTensor() &&;
  const Handle& AsHandle() const&;
  Handle AsHandle() &&;
  std::vector<int64_t> AsInts() const;          // a list of ints
  std::vector<std::string> AsStrings() const;   // a list of strings

  const std::shared_ptr<const Origin>& origin() const { return origin_; }
  void set_origin(std::shared_ptr<const Origin> origin) { origin_ = std::move(origin); }

 private:
  template <class T>
  const T& Get(std::string_view expected) const;

  std::variant<std::monostate, bool, int64_t, double, std::string, Bytes, List, Dict, Tensor, DTensor, ShardedTensor, Handle>
      data_;
  std::shared_ptr<const Origin> origin_;
};

struct Dict::Entry {
  Key key;
  Value value;
};

// Marks `value` and everything inside it as the result of `step`.
void SetOrigin(Value& value, int64_t step);

Value ToValue(const std::vector<int64_t>& values);
Value ToValue(const std::vector<std::string>& values);
Value ToValue(const std::vector<Placement>& placements);  // a list of their text forms

// A short readable text: "DTensor float32 (5, 20) [S(0)] on cpu(4), local (2, 20)". Never more than about 200 characters.
std::string ToString(const Value& value);
// "float32 (2, 20) cpu"
std::string ToString(const at::Tensor& tensor);
std::string ShapeToString(at::IntArrayRef shape);

}  // namespace shardcts
