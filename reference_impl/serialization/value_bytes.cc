#include "serialization/value_bytes.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr char kMagic[] = "shardcts state 1\n";
constexpr size_t kMagicSize = sizeof(kMagic) - 1;
constexpr int kMaxDepth = 64;
constexpr int64_t kMaxDims = 64;
constexpr int64_t kMaxEmptyBytes = int64_t{1} << 40;  // of a tensor with a length of 0, were it 1

constexpr at::ScalarType kDtypes[] = {at::kByte,     at::kChar, at::kShort,        at::kInt,
                                      at::kLong,     at::kHalf, at::kFloat,        at::kDouble,
                                      at::kBFloat16, at::kBool, at::kComplexFloat, at::kComplexDouble};

using Type = Value::Type;

class Writer {
 public:
  explicit Writer(const RankOfWorld& writer) : bytes_(kMagic, kMagicSize) {
    Int(writer.rank);
    Int(writer.world_size);
  }

  void Any(const Value& value, int depth = 0) {
    if (depth > kMaxDepth) throw SemanticError("RuntimeError", "state is nested more than 64 deep");
    bytes_.push_back(static_cast<char>(value.type()));
    switch (value.type()) {
      case Type::kNone: return;
      case Type::kBool: return Int(value.AsBool());
      case Type::kInt: return Int(value.AsInt());
      case Type::kDouble: return Int(std::bit_cast<int64_t>(value.AsDouble()));
      case Type::kString: return Text(value.AsString());
      case Type::kBytes: return Text(value.TryAs<Bytes>()->data);
      case Type::kList: return ListOf(value.AsList(), depth);
      case Type::kDict: return DictOf(value.AsDict(), depth);
      case Type::kTensor: return Plain(*value.TryAs<Tensor>());
      case Type::kDTensor: return Distributed(value.AsDTensor());
      case Type::kShardedTensor: return Sharded(value.AsShardedTensor());
      case Type::kHandle: throw SemanticError("TypeError", "cannot serialize a handle");
    }
  }

  std::string Finish() { return std::move(bytes_); }

 private:
  void Int(int64_t number) { bytes_.append(reinterpret_cast<const char*>(&number), sizeof(number)); }
  void Text(const std::string& text) {
    Int(static_cast<int64_t>(text.size()));
    bytes_ += text;
  }
  void Ints(at::IntArrayRef numbers) {
    Int(static_cast<int64_t>(numbers.size()));
    for (int64_t number : numbers) Int(number);
  }
  void ListOf(const List& list, int depth) {
    Int(static_cast<int64_t>(list.size()));
    for (const Value& item : list) Any(item, depth + 1);
  }
  void DictOf(const Dict& dict, int depth) {
    Int(static_cast<int64_t>(dict.size()));
    for (const auto& [key, value] : dict) {
      const auto* text = std::get_if<std::string>(&key);
      Any(text ? Value(*text) : Value(std::get<int64_t>(key)), depth + 1);
      Any(value, depth + 1);
    }
  }
  void Data(const at::Tensor& tensor) {
    const at::Tensor plain = tensor.detach().cpu().contiguous();
    Int(static_cast<int64_t>(plain.scalar_type()));
    Int(tensor.requires_grad());
    Ints(plain.sizes());
    bytes_.append(static_cast<const char*>(plain.data_ptr()), plain.nbytes());
  }
  void Plain(const Tensor& tensor) {
    Int(tensor.is_parameter);
    Data(tensor.data);
  }
  void Distributed(const DTensor& tensor) {
    Text(tensor.mesh.device_type);
    Ints(tensor.mesh.shape);
    Ints(tensor.mesh.ranks);
    Int(static_cast<int64_t>(tensor.mesh.dim_names.size()));
    for (const std::string& name : tensor.mesh.dim_names) Text(name);
    Int(static_cast<int64_t>(tensor.placements.size()));
    for (const Placement& placement : tensor.placements) Text(placement.ToString());
    Ints(tensor.shape);
    Ints(tensor.stride);
    Int(tensor.requires_grad);
    Int(tensor.is_parameter);
    Data(tensor.local);
  }
  void Metadata(const ShardMetadata& metadata) {
    Ints(metadata.offsets);
    Ints(metadata.sizes);
    Int(metadata.rank);
    Text(metadata.device);
  }
  void Sharded(const ShardedTensor& tensor) {
    Ints(tensor.shape);
    Int(static_cast<int64_t>(tensor.dtype));
    Ints(tensor.ranks);
    Int(static_cast<int64_t>(tensor.metadata.size()));
    for (const ShardMetadata& metadata : tensor.metadata) Metadata(metadata);
    Int(static_cast<int64_t>(tensor.local_shards.size()));
    for (const LocalShard& shard : tensor.local_shards) {
      Metadata(shard.metadata);
      Data(shard.tensor);
    }
  }

  std::string bytes_;
};

class Reader {
 public:
  Reader(const std::string& bytes, const RankOfWorld& reader) : bytes_(bytes), reader_(reader) {
    if (bytes.compare(0, kMagicSize, kMagic) != 0) Fail("these are no bytes of a state dict");
    position_ = kMagicSize;
    writer_.rank = Int();
    writer_.world_size = Int();
  }

  Value Any(int depth = 0) {
    if (depth > kMaxDepth) Fail("nested more than 64 deep");
    const auto type = static_cast<Type>(static_cast<unsigned char>(*Take(1)));
    switch (type) {
      case Type::kNone: return {};
      case Type::kBool: return Flag();
      case Type::kInt: return Int();
      case Type::kDouble: return std::bit_cast<double>(Int());
      case Type::kString: return Text();
      case Type::kBytes: return Bytes{Text()};
      case Type::kList: return ListOf(depth);
      case Type::kDict: return DictOf(depth);
      case Type::kTensor: return Plain();
      case Type::kDTensor: return Distributed();
      case Type::kShardedTensor: return Sharded();
      case Type::kHandle: break;
    }
    Fail("no such type of value");
  }

  void ExpectEnd() const {
    if (position_ != bytes_.size()) Fail("more data than one state dict");
  }

 private:
  [[noreturn]] void Fail(const std::string& what) const {
    throw SemanticError("RuntimeError", "state.deserialize: " + what + ", at byte " + std::to_string(position_) +
                                            " of " + std::to_string(bytes_.size()));
  }

  const char* Take(int64_t count) {
    if (count < 0 || static_cast<uint64_t>(count) > bytes_.size() - position_) Fail("truncated data");
    const char* taken = bytes_.data() + position_;
    position_ += static_cast<size_t>(count);
    return taken;
  }
  int64_t Int() {
    int64_t number = 0;
    std::memcpy(&number, Take(sizeof(number)), sizeof(number));
    return number;
  }
  bool Flag() {
    const int64_t number = Int();
    if (number != 0 && number != 1) Fail("neither true nor false");
    return number == 1;
  }
  // A count of items that take `least_bytes` or more each.
  int64_t Count(int64_t least_bytes) {
    const int64_t count = Int();
    if (count < 0 || count > static_cast<int64_t>(bytes_.size() - position_) / least_bytes) Fail("truncated data");
    return count;
  }
  std::string Text() {
    const int64_t size = Count(1);
    return std::string(Take(size), static_cast<size_t>(size));
  }
  std::vector<int64_t> Ints() {
    std::vector<int64_t> numbers(static_cast<size_t>(Count(sizeof(int64_t))));
    for (int64_t& number : numbers) number = Int();
    return numbers;
  }
  Value ListOf(int depth) {
    List list;
    for (int64_t left = Count(1); left > 0; --left) list.push_back(Any(depth + 1));
    return list;
  }
  Value DictOf(int depth) {
    Dict dict;
    for (int64_t left = Count(2); left > 0; --left) {
      const Value key = Any(depth + 1);
      Value value = Any(depth + 1);
      if (const auto* text = key.TryAs<std::string>()) {
        dict.Set(*text, std::move(value));
      } else if (const auto* number = key.TryAs<int64_t>()) {
        dict.Set(*number, std::move(value));
      } else {
        Fail("a key that is neither text nor number");
      }
    }
    return dict;
  }
  at::ScalarType Dtype() {
    const int64_t code = Int();
    for (at::ScalarType dtype : kDtypes) {
      if (code == static_cast<int64_t>(dtype)) return dtype;
    }
    Fail("no such dtype");
  }
  at::Tensor Data() {
    const at::ScalarType dtype = Dtype();
    const bool requires_grad = Flag();
    const std::vector<int64_t> shape = Ints();
    if (static_cast<int64_t>(shape.size()) > kMaxDims) Fail("too many dimensions");
    const bool is_empty = std::find(shape.begin(), shape.end(), 0) != shape.end();
    const int64_t limit = is_empty ? kMaxEmptyBytes : static_cast<int64_t>(bytes_.size());
    int64_t size = static_cast<int64_t>(c10::elementSize(dtype));
    for (int64_t length : shape) {
      if (length < 0) Fail("a negative length");
      if (length == 0) continue;
      if (size > limit / length) Fail("truncated data");
      size *= length;
    }
    if (is_empty) size = 0;
    const char* data = Take(size);
    at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(dtype));
    if (size > 0) std::memcpy(tensor.data_ptr(), data, static_cast<size_t>(size));
    if (requires_grad && !at::isFloatingType(dtype) && !at::isComplexType(dtype)) Fail("an integer with a gradient");
    return tensor.set_requires_grad(requires_grad);
  }
  Value Plain() {
    const bool is_parameter = Flag();
    return Tensor{Data(), is_parameter};
  }
  Value Distributed() {
    DTensor tensor;
    tensor.mesh.device_type = Text();
    tensor.mesh.shape = Ints();
    tensor.mesh.ranks = Ints();
    for (int64_t left = Count(8); left > 0; --left) tensor.mesh.dim_names.push_back(Text());
    for (int64_t left = Count(8); left > 0; --left) {
      const std::optional<Placement> placement = Placement::Parse(Text());
      if (!placement) Fail("no such placement");
      tensor.placements.push_back(*placement);
    }
    tensor.shape = Ints();
    tensor.stride = Ints();
    tensor.requires_grad = Flag();
    tensor.is_parameter = Flag();
    tensor.local = Data();
    return tensor;
  }
  ShardMetadata Metadata() {
    ShardMetadata metadata;
    metadata.offsets = Ints();
    metadata.sizes = Ints();
    metadata.rank = Int();
    metadata.device = Text();
    return metadata;
  }
  void CheckPlace() const {
    if (writer_.rank != reader_.rank) {
      throw SemanticError("RuntimeError", "Global rank at save time was " + std::to_string(writer_.rank) +
                                              ", but at load time was " + std::to_string(reader_.rank));
    }
    if (writer_.world_size != reader_.world_size) {
      throw SemanticError("RuntimeError", "Global world size at save time was " + std::to_string(writer_.world_size) +
                                              ", but at load time was " + std::to_string(reader_.world_size));
    }
  }
  Value Sharded() {
    CheckPlace();
    ShardedTensor tensor;
    tensor.shape = Ints();
    tensor.dtype = Dtype();
    tensor.ranks = Ints();
    for (int64_t left = Count(32); left > 0; --left) tensor.metadata.push_back(Metadata());
    for (int64_t left = Count(56); left > 0; --left) {
      ShardMetadata metadata = Metadata();
      tensor.local_shards.push_back({std::move(metadata), Data()});
    }
    return tensor;
  }

  const std::string& bytes_;
  RankOfWorld reader_;
  RankOfWorld writer_;
  size_t position_ = 0;
};

}  // namespace

std::string ToBytes(const Value& value, const RankOfWorld& writer) {
  Writer bytes(writer);
  bytes.Any(value);
  return bytes.Finish();
}

Value FromBytes(const std::string& bytes, const RankOfWorld& reader) {
  Reader read(bytes, reader);
  Value value = read.Any();
  read.ExpectEnd();
  return value;
}

}  // namespace shardcts::reference
