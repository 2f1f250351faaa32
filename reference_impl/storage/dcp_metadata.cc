#include "storage/dcp_metadata.h"

#include <algorithm>
#include <array>

#include "storage/pickle.h"
#include "storage/torch_names.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using NodeKind = PickleNode::Kind;

constexpr size_t kMaxNumbers = 64;
constexpr size_t kMaxPath = 100;
constexpr size_t kMaxFileName = 255;

constexpr std::string_view kMetadataClass = "torch.distributed.checkpoint.metadata Metadata",
                           kTensor = "torch.distributed.checkpoint.metadata TensorStorageMetadata",
                           kBytes = "torch.distributed.checkpoint.metadata BytesStorageMetadata",
                           kChunk = "torch.distributed.checkpoint.metadata ChunkStorageMetadata",
                           kProperties = "torch.distributed.checkpoint.metadata TensorProperties",
                           kOldProperties = "torch.distributed._shard.sharded_tensor.metadata TensorProperties",
                           kIndex = "torch.distributed.checkpoint.metadata MetadataIndex",
                           kInfo = "torch.distributed.checkpoint.filesystem _StorageInfo", kSize = "torch Size",
                           kLayout = "torch.serialization _get_layout";

std::vector<std::string_view> NamesOfMetadata() {
  std::vector<std::string_view> names{
      kMetadataClass, kTensor, kBytes, kChunk, kProperties, kOldProperties, kIndex, kInfo, kSize, kLayout,
      "torch.distributed.checkpoint.metadata StorageMeta", "torch.distributed.checkpoint.metadata _MEM_FORMAT_ENCODING",
      "torch.distributed._shard.sharded_tensor.metadata MEM_FORMAT_ENCODING",
      // Some versions of Python write a member of an enumeration as an attribute of it. It is never looked up.
      "builtins getattr", "__builtin__ getattr", "collections OrderedDict",
      "pathlib PosixPath", "pathlib._local PosixPath", "pathlib WindowsPath", "pathlib._local WindowsPath"};
  for (const TorchDtype& dtype : TorchDtypes()) names.push_back(dtype.name);
  return names;
}

std::span<const std::string_view> MetadataNames() {
  static const std::vector<std::string_view> names = NamesOfMetadata();
  return names;
}

// A tuple or torch.Size of numbers.
std::vector<int64_t> Numbers(const PicklePlace& place) {
  const PicklePlace tuple = place.IsMadeBy(kSize) ? place.Arguments().Only() : place;
  std::vector<int64_t> numbers;
  if (tuple.node().items.size() > kMaxNumbers) place.Fail("more than " + std::to_string(kMaxNumbers) + " numbers");
  for (const PicklePlace& item : tuple.Items()) numbers.push_back(item.Number());
  return numbers;
}

PicklePlace StateOf(const PicklePlace& place, std::string_view name) {
  if (!place.IsMadeBy(name)) place.Fail("expected a " + std::string(name.substr(name.find(' ') + 1)));
  return place.State();
}

at::ScalarType DtypeIn(const PicklePlace& properties) {
  const std::string_view name = properties.IsMadeBy(kOldProperties) ? kOldProperties : kProperties;
  const std::vector<PicklePlace> fields = StateOf(properties, name).Items();
  // Since PyTorch 2.15 strides follow. Chunks have their own.
  if (fields.size() != 5 && fields.size() != 6) properties.Fail("expected five or six properties");
  const TorchDtype* dtype = fields[0].Is(NodeKind::kName) ? DtypeOfName(fields[0].node().text) : nullptr;
  if (!dtype) properties.Fail("unknown dtype");
  if (!fields[1].IsMadeBy(kLayout) || fields[1].Arguments().Only().Text() != "torch.strided") {
    properties.Fail("a tensor that is not dense");
  }
  return dtype->dtype;
}

DcpEntry ReadEntry(const PicklePlace& place) {
  DcpEntry entry;
  if (place.IsMadeBy(kBytes)) return entry;
  const PicklePlace fields = StateOf(place, kTensor);
  entry.is_tensor = true;
  entry.dtype = DtypeIn(fields.Field("properties"));
  entry.shape = Numbers(fields.Field("size"));
  for (const PicklePlace& chunk : fields.Field("chunks").Items()) {
    const PicklePlace box = StateOf(chunk, kChunk);
    entry.chunks.push_back({Numbers(box.Field("offsets")), Numbers(box.Field("sizes"))});
  }
  int64_t bytes = static_cast<int64_t>(c10::elementSize(entry.dtype));
  for (const int64_t size : entry.shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes))
      place.Fail("an impossible shape");
  }
  return entry;
}

Path ReadPath(const PicklePlace& place) {
  Path path;
  if (place.node().items.size() > kMaxPath) place.Fail("a path of more than " + std::to_string(kMaxPath) + " steps");
  for (const PicklePlace& step : place.Items()) {
    const bool is_index = step.Is(NodeKind::kInt);
    path.push_back({is_index ? Key(step.Number()) : Key(step.Text()), is_index});
  }
  if (path.empty() || path.front().is_index) place.Fail("is no path from a dict");
  return path;
}

// Planners other than PyTorch's have other data there, or none: then names are no paths.
void ReadPaths(const PicklePlace& fields, DcpMetadata& metadata) {
  for (auto& [name, entry] : metadata.entries) entry.path = {{name, false}};
  if (!fields.HasField("planner_data")) return;
  const PicklePlace data = fields.Field("planner_data");
  if (!data.Is(NodeKind::kDict)) return;
  for (const auto& [key, value] : data.Entries()) {
    if (!key.Is(NodeKind::kText) || !value.Is(NodeKind::kTuple)) return;
    const auto entry = metadata.entries.find(key.Text());
    if (entry != metadata.entries.end()) entry->second.path = ReadPath(value);
  }
}

DcpPlace ReadPlace(const PicklePlace& place) {
  const PicklePlace fields = StateOf(place, kInfo);
  if (fields.HasField("transform_descriptors") && !fields.Field("transform_descriptors").IsNone()) {
    place.Fail("is stored through a transform");
  }
  DcpPlace found{fields.Field("relative_path").Text(), {}};
  if (!IsPlainPath(found.file)) place.Fail("its file \"" + found.file + "\" is no plain path in the folder");
  const int64_t offset = fields.Field("offset").Number(), length = fields.Field("length").Number();
  int64_t end = 0;
  if (offset < 0 || length < 0 || __builtin_add_overflow(offset, length, &end))
    place.Fail("an impossible offset or length");
  found.range = {offset, end};
  return found;
}

void ReadPlaces(const PicklePlace& data, DcpMetadata& metadata) {
  for (const auto& [key, value] : data.Entries()) {
    const PicklePlace index = StateOf(key, kIndex);
    const std::string name = index.Field("fqn").Text();
    std::optional<std::vector<int64_t>> offsets;
    if (index.HasField("offset") && !index.Field("offset").IsNone()) offsets = Numbers(index.Field("offset"));
    const PicklePlace named(*value.pickle, value.id, data.where + "[\"" + name + "\"]");
    if (!metadata.places.emplace(std::pair(name, offsets), ReadPlace(named)).second) named.Fail("is there twice");
  }
}

void ReadVersion(const PicklePlace& fields, DcpMetadata& metadata) {
  if (!fields.HasField("version") || fields.Field("version").IsNone()) return;
  const PicklePlace version = fields.Field("version");
  metadata.version = version.Text();
  if (metadata.version != "1.0.0") version.Fail("has version \"" + metadata.version + "\", version \"1.0.0\" is known");
}

}  // namespace

bool IsPlainPath(const std::string& path) {
  size_t begin = 0;
  while (true) {
    const size_t slash = std::min(path.find('/', begin), path.size());
    const std::string name = path.substr(begin, slash - begin);
    if (name.empty() || name == "." || name == ".." || name.size() > kMaxFileName) return false;
    if (name.find('\0') != name.npos || name.find('\\') != name.npos) return false;
    if (slash == path.size()) return path.size() <= 4096;
    begin = slash + 1;
  }
}

DcpMetadata ReadDcpMetadata(std::string_view bytes, const std::string& file_name) {
  const Pickle pickle(bytes, MetadataNames(), file_name);
  const PicklePlace root(pickle);
  if (!root.IsMadeBy(kMetadataClass)) root.Fail("is no metadata of a checkpoint");
  const PicklePlace fields = root.State();
  DcpMetadata metadata;
  ReadVersion(fields, metadata);
  for (const auto& [key, value] : fields.Field("state_dict_metadata").Entries()) {
    const std::string name = key.Text();
    if (!metadata.entries.emplace(name, ReadEntry(value)).second) value.Fail("is there twice");
    metadata.order.push_back(name);
  }
  ReadPaths(fields, metadata);
  const PicklePlace places = fields.Field("storage_data");
  if (!places.Is(NodeKind::kDict)) places.Fail("says nothing of files");
  ReadPlaces(places, metadata);
  return metadata;
}

}  // namespace shardcts::reference
