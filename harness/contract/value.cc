#include "contract/value.h"

#include <fmt/format.h>

namespace shardcts {

std::string ToString(const Key& key) {
  if (const auto* text = std::get_if<std::string>(&key)) return *text;
  return std::to_string(std::get<int64_t>(key));
}

Dict::Dict() = default;
Dict::Dict(std::initializer_list<Entry> entries) {
  for (const Entry& entry : entries) Set(entry.key, entry.value);
}
Dict::Dict(const Dict&) = default;
Dict::Dict(Dict&&) noexcept = default;
Dict& Dict::operator=(const Dict&) = default;
Dict& Dict::operator=(Dict&&) noexcept = default;
Dict::~Dict() = default;

void Dict::Set(Key key, Value value) {
  if (Value* found = Find(key)) {
    *found = std::move(value);
  } else {
    entries_.push_back({std::move(key), std::move(value)});
  }
}

const Value* Dict::Find(const Key& key) const& {
  for (const Entry& entry : entries_) {
    if (entry.key == key) return &entry.value;
  }
  return nullptr;
}

Value* Dict::Find(const Key& key) & { return const_cast<Value*>(std::as_const(*this).Find(key)); }

const Value& Dict::At(const Key& key) const& {
  if (const Value* found = Find(key)) return *found;
  throw ContractViolation(fmt::format("no key \"{}\" in a dict of {} entries", shardcts::ToString(key), size()));
}

Value Dict::At(const Key& key) && { return std::as_const(*this).At(key); }

bool Dict::Erase(const Key& key) {
  return std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; }) > 0;
}

size_t Dict::size() const { return entries_.size(); }

std::vector<std::string> Dict::Keys() const {
  std::vector<std::string> keys;
  for (const Entry& entry : entries_) keys.push_back(shardcts::ToString(entry.key));
  return keys;
}

std::vector<Dict::Entry>::iterator Dict::begin() { return entries_.begin(); }
std::vector<Dict::Entry>::iterator Dict::end() { return entries_.end(); }
std::vector<Dict::Entry>::const_iterator Dict::begin() const { return entries_.begin(); }
std::vector<Dict::Entry>::const_iterator Dict::end() const { return entries_.end(); }

Value::Value() = default;
Value::Value(const Value&) = default;
Value::Value(Value&&) noexcept = default;
Value& Value::operator=(const Value&) = default;
Value& Value::operator=(Value&&) noexcept = default;
Value::~Value() = default;

std::string_view Value::TypeName() const {
  static constexpr std::string_view kNames[] = {"none", "bool", "int",    "double",  "string",         "bytes",
                                                "list", "dict", "tensor", "dtensor", "sharded_tensor", "handle"};
  return kNames[data_.index()];
}

template <class T>
const T& Value::Get(std::string_view expected) const {
  if (const T* value = TryAs<T>()) return *value;
  throw ContractViolation(fmt::format("expected {}, got {}", expected, shardcts::ToString(*this)));
}

bool Value::AsBool() const { return Get<bool>("bool"); }
int64_t Value::AsInt() const { return Get<int64_t>("int"); }
double Value::AsDouble() const {
  if (const int64_t* whole = TryAs<int64_t>()) return static_cast<double>(*whole);
  return Get<double>("double");
}
const std::string& Value::AsString() const& { return Get<std::string>("string"); }
std::string Value::AsString() && { return std::as_const(*this).AsString(); }
const List& Value::AsList() const& { return Get<List>("list"); }
List Value::AsList() && { return std::as_const(*this).AsList(); }
const Dict& Value::AsDict() const& { return Get<Dict>("dict"); }
Dict Value::AsDict() && { return std::as_const(*this).AsDict(); }
Dict& Value::AsDict() & { return const_cast<Dict&>(std::as_const(*this).AsDict()); }
const at::Tensor& Value::AsTensor() const& { return Get<Tensor>("tensor").data; }
at::Tensor Value::AsTensor() && { return std::as_const(*this).AsTensor(); }
const DTensor& Value::AsDTensor() const& { return Get<DTensor>("dtensor"); }
DTensor Value::AsDTensor() && { return std::as_const(*this).AsDTensor(); }
DTensor& Value::AsDTensor() & { return const_cast<DTensor&>(std::as_const(*this).AsDTensor()); }
const ShardedTensor& Value::AsShardedTensor() const& { return Get<ShardedTensor>("sharded_tensor"); }
ShardedTensor Value::AsShardedTensor() && { return std::as_const(*this).AsShardedTensor(); }
const Handle& Value::AsHandle() const& { return Get<Handle>("handle"); }
Handle Value::AsHandle() && { return std::as_const(*this).AsHandle(); }

std::vector<int64_t> Value::AsInts() const {
  std::vector<int64_t> result;
  for (const Value& item : AsList()) result.push_back(item.AsInt());
  return result;
}

std::vector<std::string> Value::AsStrings() const {
  std::vector<std::string> result;
  for (const Value& item : AsList()) result.push_back(item.AsString());
  return result;
}

namespace {

void MarkOrigin(Value& value, const Origin& origin) {
  value.set_origin(std::make_shared<const Origin>(origin));
  auto mark_inside = [&](Value& inner, Key key) {
    Origin below = origin;
    below.path.push_back(std::move(key));
    MarkOrigin(inner, below);
  };
  if (List* list = value.TryAs<List>()) {
    for (size_t i = 0; i < list->size(); ++i) mark_inside((*list)[i], static_cast<int64_t>(i));
  } else if (Dict* dict = value.TryAs<Dict>()) {
    for (Dict::Entry& entry : *dict) mark_inside(entry.value, entry.key);
  }
}

}  // namespace

void SetOrigin(Value& value, int64_t step) { MarkOrigin(value, Origin{step, {}}); }

Value ToValue(const std::vector<int64_t>& values) { return List(values.begin(), values.end()); }
Value ToValue(const std::vector<std::string>& values) { return List(values.begin(), values.end()); }
Value ToValue(const std::vector<Placement>& placements) {
  List list;
  for (const Placement& placement : placements) list.push_back(placement.ToString());
  return list;
}

}  // namespace shardcts
