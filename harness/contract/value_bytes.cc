#include "contract/value_bytes.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <bit>
#include <concepts>
#include <cstring>

#include "contract/tensor_bytes.h"
#include "contract/value_fields.h"

namespace shardcts {
namespace {

static_assert(std::endian::native == std::endian::little, "the bytes are little-endian");

constexpr int kMaxDepth = 64;

template <class T>
concept Number = std::same_as<T, int64_t> || std::same_as<T, uint64_t> || std::same_as<T, double> ||
                 std::same_as<T, uint8_t>;

class Packer {
 public:
  void Put(const Value& value) {
    if (++depth_ > kMaxDepth) throw ContractViolation(fmt::format("a value nested more than {} deep", kMaxDepth));
    Put(static_cast<uint8_t>(value.type()));
    VisitValue(value, [this](const auto& held) { Put(held); });
    --depth_;
  }
  std::string Take() { return std::move(bytes_); }

 private:
  template <Number T>
  void Put(const T& number) {
    bytes_.append(reinterpret_cast<const char*>(&number), sizeof number);
  }
  void Put(bool flag) { Put(uint8_t{flag}); }
  void Put(std::monostate) {}
  void Put(std::string_view text) {
    Put(uint64_t{text.size()});
    bytes_ += text;
  }
  void Put(const std::string& text) { Put(std::string_view(text)); }
  void Put(const Bytes& bytes) { Put(bytes.data); }
  void Put(const Handle& handle) {
    Put(handle.kind);
    Put(handle.id);
  }
  void Put(const Placement& placement) { Put(placement.ToString()); }
  void Put(at::ScalarType dtype) { Put(DtypeName(dtype)); }
  template <class T>
  void Put(const std::vector<T>& items) {
    Put(uint64_t{items.size()});
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
    Put(static_cast<uint8_t>(key.index()));
    std::visit([this](const auto& alternative) { Put(alternative); }, key);
  }
  void Put(const Dict& dict) {
    Put(uint64_t{dict.size()});
    for (const Dict::Entry& entry : dict) {
      Put(entry.key);
      Put(entry.value);
    }
  }
  template <Composite T>
  void Put(const T& composite) {
    ForEachField<T>([&](std::string_view, auto member) { Put(composite.*member); });
  }

  std::string bytes_;
  int depth_ = 0;
};

class Unpacker {
 public:
  explicit Unpacker(std::string_view bytes) : bytes_(bytes) {}

  Value Run() {
    Value value;
    try {
      Get(value);
    } catch (const ContractViolation& violation) {
      Fail(violation.what());
    }
    if (at_ != bytes_.size()) Fail("more data than one value");
    return value;
  }

 private:
  // Where a value of a wrong form is noticed; Run adds the position.
  [[noreturn]] void Fail(const std::string& problem) const {
    throw ContractViolation(fmt::format("{}, at byte {} of {}", problem, at_, bytes_.size()));
  }
  static void Require(bool holds, const char* problem) {
    if (!holds) throw ContractViolation(problem);
  }
  std::string_view Next(uint64_t size) {
    Require(size <= bytes_.size() - at_, "truncated data");
    const std::string_view next = bytes_.substr(at_, size);
    at_ += size;
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
  void Get(bool& flag) {
    const auto byte = Make<uint8_t>();
    Require(byte <= 1, "neither true nor false");
    flag = byte == 1;
  }
  void Get(std::monostate&) {}
  void Get(std::string& text) { text = Next(Make<uint64_t>()); }
  void Get(Bytes& bytes) { Get(bytes.data); }
  void Get(Handle& handle) {
    Get(handle.kind);
    Get(handle.id);
  }
  void Get(Placement& placement) {
    const std::optional<Placement> parsed = Placement::Parse(Make<std::string>());
    Require(parsed.has_value(), "no such placement");
    placement = *parsed;
  }
  void Get(at::ScalarType& dtype) {
    const std::optional<at::ScalarType> parsed = ParseDtype(Make<std::string>());
    Require(parsed.has_value(), "no such dtype");
    dtype = *parsed;
  }
  template <class T>
  void Get(std::vector<T>& items) {
    for (auto left = Make<uint64_t>(); left > 0; --left) items.push_back(Make<T>());
  }
  void Get(at::Tensor& tensor) {
    const auto shape = Make<std::vector<int64_t>>();
    const auto dtype = Make<at::ScalarType>();
    const auto requires_grad = Make<bool>();
    CheckedSize(shape, dtype);
    if (Make<bool>()) {
      tensor = at::empty(shape, at::TensorOptions().dtype(dtype).device(at::kMeta));
    } else {
      tensor = TensorFromBytes(Next(Make<uint64_t>()), shape, dtype);
    }
    Require(!requires_grad || at::isFloatingType(dtype) || at::isComplexType(dtype), "an integer with a gradient");
    if (requires_grad) tensor.set_requires_grad(true);
  }
  void Get(Key& key) {
    const auto index = Make<uint8_t>();
    Require(index <= 1, "a key that is neither text nor number");
    key = index == 0 ? Key(Make<std::string>()) : Key(Make<int64_t>());
  }
  void Get(Dict& dict) {
    for (auto left = Make<uint64_t>(); left > 0; --left) {
      Key key = Make<Key>();
      dict.Set(std::move(key), Make<Value>());
    }
  }
  template <Composite T>
  void Get(T& composite) {
    ForEachField<T>([&](std::string_view, auto member) { Get(composite.*member); });
  }
  void Get(Value& value) {
    Require(++depth_ <= kMaxDepth, "nested too deep");
    value = MakeAny(static_cast<Value::Type>(Make<uint8_t>()));
    --depth_;
  }
  Value MakeAny(Value::Type type) {
    switch (type) {
      case Value::Type::kNone: return {};
      case Value::Type::kBool: return Make<bool>();
      case Value::Type::kInt: return Make<int64_t>();
      case Value::Type::kDouble: return Make<double>();
      case Value::Type::kString: return Make<std::string>();
      case Value::Type::kBytes: return Make<Bytes>();
      case Value::Type::kList: return Make<List>();
      case Value::Type::kDict: return Make<Dict>();
      case Value::Type::kTensor: return Make<Tensor>();
      case Value::Type::kDTensor: return Make<DTensor>();
      case Value::Type::kShardedTensor: return Make<ShardedTensor>();
      case Value::Type::kHandle: return Make<Handle>();
    }
    throw ContractViolation("no such type of value");
  }

  std::string_view bytes_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

std::string PackValue(const Value& value) {
  Packer packer;
  packer.Put(value);
  return packer.Take();
}

Value UnpackValue(std::string_view bytes) { return Unpacker(bytes).Run(); }

}  // namespace shardcts
