#include "contract/value_bytes.h"

#include <ATen/ATen.h>

#include <concepts>
#include <cstring>

#include "contract/tensor_bytes.h"

namespace shardcts {
namespace {

// The fields of each composite, in one place for both directions: T is const where they are packed.
template <class T, class Plain>
concept Is = std::same_as<std::remove_const_t<T>, Plain>;

template <class Stream, Is<Placement> T>
void Fields(Stream& stream, T& v) { stream(v.kind, v.dim, v.split_factor, v.reduce_op); }
template <class Stream, Is<MeshLayout> T>
void Fields(Stream& stream, T& v) { stream(v.device_type, v.shape, v.dim_names, v.ranks); }
template <class Stream, Is<Bytes> T>
void Fields(Stream& stream, T& v) { stream(v.data); }
template <class Stream, Is<Handle> T>
void Fields(Stream& stream, T& v) { stream(v.kind, v.id); }
template <class Stream, Is<Tensor> T>
void Fields(Stream& stream, T& v) { stream(v.data, v.is_parameter); }
template <class Stream, Is<DTensor> T>
void Fields(Stream& stream, T& v) {
  stream(v.local, v.mesh, v.placements, v.shape, v.stride, v.requires_grad, v.is_parameter);
}
template <class Stream, Is<ShardMetadata> T>
void Fields(Stream& stream, T& v) { stream(v.offsets, v.sizes, v.rank, v.device); }
template <class Stream, Is<LocalShard> T>
void Fields(Stream& stream, T& v) { stream(v.metadata, v.tensor); }
template <class Stream, Is<ShardedTensor> T>
void Fields(Stream& stream, T& v) { stream(v.shape, v.metadata, v.local_shards, v.dtype, v.ranks); }

template <class T>
concept Number = std::is_arithmetic_v<T> || std::is_enum_v<T>;

class Packer {
 public:
  template <class... T>
  void operator()(const T&... parts) {
    (Put(parts), ...);
  }
  std::string Take() { return std::move(bytes_); }

 private:
  template <Number T>
  void Put(const T& number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  void Put(std::monostate) {}
  void Put(std::string_view text) {
    Put(text.size());
    bytes_ += text;
  }
  void Put(const std::string& text) { Put(std::string_view(text)); }
  template <class T>
  void Put(const std::vector<T>& items) {
    Put(items.size());
    for (const T& item : items) Put(item);
  }
  void Put(const at::Tensor& tensor) {
    if (!tensor.defined()) throw ContractViolation("an undefined tensor cannot be sent");
    Put(tensor.sizes().vec());
    Put(tensor.scalar_type());
    Put(tensor.requires_grad());
    Put(tensor.is_meta());
    if (!tensor.is_meta()) Put(BytesView(ContiguousOnCpu(tensor)));
  }
  void Put(const Key& key) {
    Put(key.index());
    std::visit([this](const auto& alternative) { Put(alternative); }, key);
  }
  void Put(const Dict& dict) {
    Put(dict.size());
    for (const Dict::Entry& entry : dict) (*this)(entry.key, entry.value);
  }
  void Put(const Value& value) {
    Put(value.type());
    switch (value.type()) {
      case Value::Type::kNone: return;
      case Value::Type::kBool: return Put(value.AsBool());
      case Value::Type::kInt: return Put(value.AsInt());
      case Value::Type::kDouble: return Put(value.AsDouble());
      case Value::Type::kString: return Put(value.AsString());
      case Value::Type::kBytes: return Put(*value.TryAs<Bytes>());
      case Value::Type::kList: return Put(value.AsList());
      case Value::Type::kDict: return Put(value.AsDict());
      case Value::Type::kTensor: return Put(*value.TryAs<Tensor>());
      case Value::Type::kDTensor: return Put(value.AsDTensor());
      case Value::Type::kShardedTensor: return Put(value.AsShardedTensor());
      case Value::Type::kHandle: return Put(value.AsHandle());
    }
  }
  template <class T>
    requires requires(Packer& packer, const T& composite) { Fields(packer, composite); }
  void Put(const T& composite) {
    Fields(*this, composite);
  }

  std::string bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : rest_(bytes) {}

  template <class... T>
  void operator()(T&... parts) {
    (Get(parts), ...);
  }
  bool AtEnd() const { return rest_.empty(); }

 private:
  std::string_view Next(size_t size) {
    if (size > rest_.size()) throw ContractViolation("a packed value ends too early");
    const std::string_view next = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return next;
  }
  template <class T>
  T Make() {
    T part{};
    Get(part);
    return part;
  }

  template <Number T>
  void Get(T& number) {
    std::memcpy(&number, Next(sizeof number).data(), sizeof number);
  }
  void Get(std::string& text) { text = Next(Make<size_t>()); }
  template <class T>
  void Get(std::vector<T>& items) {
    const auto count = Make<size_t>();
    if (count > rest_.size()) throw ContractViolation("a packed list ends too early");  // an item has a byte at least
    items.resize(count);
    for (T& item : items) Get(item);
  }
  void Get(at::Tensor& tensor) {
    const auto shape = Make<std::vector<int64_t>>();
    const auto dtype = Make<at::ScalarType>();
    const auto requires_grad = Make<bool>();
    if (Make<bool>()) {
      tensor = at::empty(shape, at::TensorOptions().dtype(dtype).device(at::kMeta));
    } else {
      tensor = TensorFromBytes(Next(Make<size_t>()), shape, dtype);
    }
    if (requires_grad) tensor.set_requires_grad(true);
  }
  void Get(Key& key) {
    if (Make<size_t>() == 0) {
      key = Make<std::string>();
    } else {
      key = Make<int64_t>();
    }
  }
  void Get(Dict& dict) {
    for (auto count = Make<size_t>(); count > 0; --count) {
      Key key = Make<Key>();
      dict.Set(std::move(key), Make<Value>());
    }
  }
  void Get(Value& value) {
    switch (Make<Value::Type>()) {
      case Value::Type::kNone: return void(value = Value());
      case Value::Type::kBool: return void(value = Make<bool>());
      case Value::Type::kInt: return void(value = Make<int64_t>());
      case Value::Type::kDouble: return void(value = Make<double>());
      case Value::Type::kString: return void(value = Make<std::string>());
      case Value::Type::kBytes: return void(value = Make<Bytes>());
      case Value::Type::kList: return void(value = Make<List>());
      case Value::Type::kDict: return void(value = Make<Dict>());
      case Value::Type::kTensor: return void(value = Make<Tensor>());
      case Value::Type::kDTensor: return void(value = Make<DTensor>());
      case Value::Type::kShardedTensor: return void(value = Make<ShardedTensor>());
      case Value::Type::kHandle: return void(value = Make<Handle>());
    }
    throw ContractViolation("a packed value of an unknown type");
  }
  template <class T>
    requires requires(Unpacker& unpacker, T& composite) { Fields(unpacker, composite); }
  void Get(T& composite) {
    Fields(*this, composite);
  }

  std::string_view rest_;
};

}  // namespace

std::string PackValue(const Value& value) {
  Packer packer;
  packer(value);
  return packer.Take();
}

Value UnpackValue(std::string_view bytes) {
  Unpacker unpacker(bytes);
  Value value;
  unpacker(value);
  if (!unpacker.AtEnd()) throw ContractViolation("bytes follow a packed value");
  return value;
}

}  // namespace shardcts
