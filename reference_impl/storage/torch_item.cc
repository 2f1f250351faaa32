#include "storage/torch_item.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <bit>
#include <span>

#include "contract/tensor_bytes.h"
#include "storage/pickle.h"
#include "storage/torch_names.h"
#include "storage/utf8.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using NodeKind = PickleNode::Kind;

constexpr int64_t kMaxPickleBytes = int64_t{64} << 20;
constexpr size_t kMaxTensorDims = 64;
constexpr int kMaxValueDepth = 100;

std::vector<std::string_view> NamesOfItems() {
  std::vector<std::string_view> names{"torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3",
                                      "torch._utils _rebuild_parameter", "torch.storage UntypedStorage",
                                      "collections OrderedDict", "_codecs encode", "__builtin__ bytes",
                                      "_io BytesIO", "torch Size"};
  for (const TorchDtype& one : TorchDtypes()) {
    names.push_back(one.name);
    if (!one.storage.empty()) names.push_back(one.storage);
  }
  return names;
}

std::span<const std::string_view> ItemNames() {
  static const std::vector<std::string_view> names = NamesOfItems();
  return names;
}

const ZipMember& Member(const std::map<std::string, ZipMember>& members, const std::string& name,
                        const std::string& where) {
  const auto found = members.find(name);
  if (found == members.end()) throw SemanticError("RuntimeError", where + ": has no member \"" + name + "\"");
  return found->second;
}

void CheckByteOrder(const ReadableFile& file, const std::map<std::string, ZipMember>& members,
                    const std::string& where) {
  const auto order = members.find("byteorder");
  if (order == members.end()) return;  // older versions had none, and were little-endian
  const std::string text = ReadZipMember(file, order->second, 16, where);
  if (text != "little") throw SemanticError("RuntimeError", where + ": its byte order is \"" + text + "\"");
}

// The pickle of an archive, and the bytes that it is of.
struct OpenItem {
  std::map<std::string, ZipMember> members;
  std::string bytes;
  Pickle pickle;

  OpenItem(const ReadableFile& file, FileRange range, const std::string& where)
      : members(ReadZipMembers(file, range, where)),
        bytes(ReadZipMember(file, Member(members, "data.pkl", where), kMaxPickleBytes, where)),
        pickle(bytes, ItemNames(), where) {
    CheckByteOrder(file, members, where);
  }
};

std::vector<int64_t> Sizes(const PicklePlace& place) {
  const PicklePlace tuple = place.IsMadeBy("torch Size") ? place.Arguments().Only() : place;
  std::vector<int64_t> sizes;
  for (const PicklePlace& item : tuple.Items()) {
    sizes.push_back(item.Number());
    if (sizes.back() < 0) place.Fail("a negative number");
  }
  if (sizes.size() > kMaxTensorDims) place.Fail("more than " + std::to_string(kMaxTensorDims) + " dimensions");
  return sizes;
}

// Every element of the view is among the first `count`.
void CheckView(const TensorItem& item, int64_t count, const PicklePlace& place) {
  if (item.strides.size() != item.sizes.size()) place.Fail("other numbers of sizes and strides");
  int64_t elements = 1, last = item.first;  // elements with a place of their own: not of a dimension of stride 0
  for (size_t dim = 0; dim < item.sizes.size(); ++dim) {
    int64_t reach = 0;
    const int64_t places = item.strides[dim] == 0 ? 1 : std::max<int64_t>(item.sizes[dim], 1);
    if (__builtin_mul_overflow(elements, places, &elements) ||
        __builtin_mul_overflow(std::max<int64_t>(item.sizes[dim] - 1, 0), item.strides[dim], &reach) ||
        __builtin_add_overflow(last, reach, &last)) {
      place.Fail("an impossible shape");
    }
  }
  if (elements > count && std::ranges::count(item.sizes, 0) == 0) place.Fail("more elements than are stored");
  if (std::ranges::count(item.sizes, 0) == 0 && last >= count) place.Fail("elements beyond those that are stored");
}

void CheckNoHooks(const PicklePlace& place) {
  if (place.IsNone()) return;
  if (!place.IsMadeBy("collections OrderedDict") || place.HasState() || !place.Arguments().Items().empty()) {
    place.Fail("has hooks");
  }
}

// ("storage", type, key, location, number of elements)
void ReadStorage(const PicklePlace& place, const OpenItem& opened, const TorchDtype* dtype, TensorItem& item) {
  if (!place.Is(NodeKind::kPersistent)) place.Fail("expected a storage");
  const std::vector<PicklePlace> id = PicklePlace(*place.pickle, place.node().items[0], place.where).Items();
  if (id.size() != 5 || id[0].Text() != "storage" || !id[1].Is(NodeKind::kName)) place.Fail("expected a storage");
  const std::string_view type = id[1].node().text;
  if (!dtype) dtype = DtypeOfStorage(type);
  if (!dtype || (type != "torch.storage UntypedStorage" && type != dtype->storage))
    place.Fail("a storage of another type");
  item.dtype = dtype->dtype;
  item.storage = Member(opened.members, "data/" + id[2].Text(), place.where);
  const int64_t element = static_cast<int64_t>(c10::elementSize(item.dtype));
  const int64_t count = id[4].Number(), unit = type == "torch.storage UntypedStorage" ? 1 : element;
  int64_t bytes = 0;
  if (count < 0 || __builtin_mul_overflow(count, unit, &bytes) || bytes != item.storage.end - item.storage.begin) {
    place.Fail("a storage of " + std::to_string(item.storage.end - item.storage.begin) + " bytes, its pickle says " +
               std::to_string(count) + " times " + std::to_string(unit));
  }
  CheckView(item, bytes / element, place);
}

TensorItem TensorFrom(const PicklePlace& place, const OpenItem& opened, int depth) {
  if (depth > 2) place.Fail("a parameter of a parameter");
  if (place.IsMadeBy("torch._utils _rebuild_parameter")) {
    const std::vector<PicklePlace> arguments = place.Arguments().Items();
    if (arguments.size() != 3) place.Fail("a parameter with other arguments");
    CheckNoHooks(arguments[2]);
    return TensorFrom(arguments[0], opened, depth + 1);
  }
  const bool has_dtype = place.IsMadeBy("torch._utils _rebuild_tensor_v3");
  if (!has_dtype && !place.IsMadeBy("torch._utils _rebuild_tensor_v2")) place.Fail("expected a dense tensor");
  const std::vector<PicklePlace> arguments = place.Arguments().Items();
  const size_t usual = has_dtype ? 7 : 6;
  if (place.HasState() || arguments.size() < usual || arguments.size() > usual + 1)
    place.Fail("a tensor with other arguments");
  if (arguments.size() > usual && !arguments[usual].IsNone())
    place.Fail("a tensor that is a conjugate or negative view");
  CheckNoHooks(arguments[5]);
  TensorItem item{.sizes = Sizes(arguments[2]), .strides = Sizes(arguments[3]), .first = arguments[1].Number()};
  if (item.first < 0) place.Fail("a negative offset");
  const TorchDtype* dtype =
      has_dtype && arguments[6].Is(NodeKind::kName) ? DtypeOfName(arguments[6].node().text) : nullptr;
  if (has_dtype && !dtype) place.Fail("expected a dtype");
  ReadStorage(arguments[0], opened, dtype, item);
  return item;
}

// Copies what the graph describes into values. A graph may share nodes: what would become much more than the pickle has
// bytes, or is too deep (it may have cycles), is refused.
class ValueReader {
 public:
  explicit ValueReader(const Pickle& pickle) : left_(16 * pickle.size() + 1024) {}
  virtual ~ValueReader() = default;

  Value Read(const PicklePlace& place, int depth = 0) {
    Spend(place, 1);
    if (depth > kMaxValueDepth)
      place.Fail("is nested more than " + std::to_string(kMaxValueDepth) + " deep, or has itself in it");
    switch (place.node().kind) {
      case NodeKind::kNone: return {};
      case NodeKind::kBool: return place.Flag();
      case NodeKind::kInt: return place.Number();
      case NodeKind::kDouble: return place.node().real;
      case NodeKind::kText: return Spend(place, place.node().text.size()), place.Text();
      case NodeKind::kList: case NodeKind::kTuple: return ReadList(place, depth);
      case NodeKind::kDict: return ReadDict(place, depth);
      case NodeKind::kMade: return ReadMade(place, depth);
      case NodeKind::kName: case NodeKind::kPersistent: break;
    }
    place.Fail("is no plain value");
  }

 private:
  // What is neither plain nor a container.
  virtual Value ReadOther(const PicklePlace& place) { place.Fail("is no plain value"); }

  void Spend(const PicklePlace& place, size_t bytes) {
    if (bytes > left_) place.Fail("describes much more than it has bytes");
    left_ -= bytes;
  }
  Value ReadList(const PicklePlace& place, int depth) {
    List list;
    for (const PickleId item : place.node().items) list.push_back(Read({*place.pickle, item, place.where}, depth + 1));
    return list;
  }
  Value ReadDict(const PicklePlace& place, int depth) {
    // Setting a key is linear in the number of keys.
    keys_ += place.node().items.size() / 2;
    if (keys_ > kMaxKeys) place.Fail("dicts of more than " + std::to_string(kMaxKeys) + " keys");
    std::vector<std::pair<Key, Value>> entries;
    std::vector<Key> keys;
    for (const auto& [key_place, value_place] : place.Entries()) {
      const Value key = Read(key_place, depth + 1);
      const bool is_text = key.type() == Value::Type::kString;
      if (!is_text && key.type() != Value::Type::kInt)
        place.Fail("a dict with keys that are neither texts nor integers");
      keys.push_back(is_text ? Key(key.AsString()) : Key(key.AsInt()));
      entries.emplace_back(keys.back(), Read(value_place, depth + 1));
    }
    std::ranges::sort(keys);
    const auto twice = std::ranges::adjacent_find(keys);
    if (twice != keys.end()) place.Fail("has the key \"" + ToString(*twice) + "\" twice");
    Dict dict;
    for (auto& [key, value] : entries) dict.Set(std::move(key), std::move(value));
    return dict;
  }
  Value ReadMade(const PicklePlace& place, int depth) {
    const std::vector<PicklePlace> arguments = place.Arguments().Items();
    if (place.IsMadeBy("collections OrderedDict") && arguments.empty()) {
      return place.HasState() ? ReadDict(place.State(), depth + 1) : Value(Dict());
    }
    if (place.IsMadeBy("_codecs encode") && arguments.size() == 2 && arguments[1].Text() == "latin1") {
      std::string bytes;
      Spend(place, arguments[0].node().text.size());
      if (!Latin1OfUtf8(arguments[0].Text(), bytes)) place.Fail("bytes with a character beyond 255");
      return Bytes{std::move(bytes)};
    }
    if (place.IsMadeBy("__builtin__ bytes") && arguments.empty()) return Bytes{};
    if (place.IsMadeBy("_io BytesIO") && arguments.empty() && place.HasState()) {
      const std::vector<PicklePlace> state = place.State().Items();
      if (!state.empty()) return Read(state.front(), depth + 1);
    }
    return ReadOther(place);
  }
  static constexpr size_t kMaxKeys = 20'000;
  size_t left_;  // bytes
  size_t keys_ = 0;
};

// Tensors, too. Together they may have some times the bytes of the file, because a storage may be that of several.
class StateReader final : public ValueReader {
 public:
  StateReader(const ReadableFile& file, FileRange range, const OpenItem& opened)
      : ValueReader(opened.pickle), file_(file), opened_(opened), bytes_left_(4 * range.size()) {}

 private:
  Value ReadOther(const PicklePlace& place) override {
    const TensorItem item = TensorFrom(place, opened_, 0);
    const auto element = static_cast<int64_t>(c10::elementSize(item.dtype));
    const int64_t bytes = c10::multiply_integers(item.sizes) * element;
    const auto options = at::TensorOptions().dtype(item.dtype);
    if (bytes == 0) return at::empty(item.sizes, options);
    if (bytes > bytes_left_) place.Fail("describes much more than it has bytes");
    bytes_left_ -= bytes;
    auto [known, is_new] = storages_.try_emplace(item.storage.begin);
    if (is_new) known->second = ReadZipMember(file_, item.storage, file_.size(), place.where);
    char* begin = known->second.data() + item.first * element;
    return at::from_blob(begin, item.sizes, item.strides, options).clone(at::MemoryFormat::Contiguous);
  }

  const ReadableFile& file_;
  const OpenItem& opened_;
  int64_t bytes_left_;
  std::map<int64_t, std::string> storages_;  // by where they begin
};

}  // namespace

TensorItem ReadTensorItem(const ReadableFile& file, FileRange range, const std::string& where) {
  const OpenItem opened(file, range, where);
  return TensorFrom(PicklePlace(opened.pickle), opened, 0);
}

Value ReadValueItem(const ReadableFile& file, FileRange range, const std::string& where) {
  const OpenItem opened(file, range, where);
  return ValueReader(opened.pickle).Read(PicklePlace(opened.pickle));
}

Value ReadStateItem(const ReadableFile& file, FileRange range, const std::string& where) {
  const OpenItem opened(file, range, where);
  return StateReader(file, range, opened).Read(PicklePlace(opened.pickle));
}

}  // namespace shardcts::reference
