#include "suites/storage/forged_dcp.h"

#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>

#include <functional>
#include <numeric>

namespace shardcts::storage {
namespace {

constexpr const char* kModule = "torch.distributed.checkpoint.metadata ";

std::string LittleEndian(uint64_t number, size_t bytes) {
  std::string text;
  for (size_t i = 0; i < bytes; ++i) text += static_cast<char>(number >> (8 * i) & 0xff);
  return text;
}

std::string Joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += part;
  return text;
}

// "c" and two lines.
std::string PickledName(const std::string& name) {
  const size_t space = name.find(' ');
  return "c" + name.substr(0, space) + "\n" + name.substr(space + 1) + "\n";
}

std::string PickledSize(const std::vector<int64_t>& numbers) {
  return PickledCall("torch Size", PickledTuple({PickledInts(numbers)}));
}

std::string DenseFloats() {
  return PickledObject(std::string(kModule) + "TensorProperties",
                       PickledTuple({PickledName("torch float32"),
                                     PickledCall("torch.serialization _get_layout",
                                                 PickledTuple({PickledText("torch.strided")})),
                                     "\x89",
                                     PickledCall(std::string(kModule) + "_MEM_FORMAT_ENCODING",
                                                 PickledTuple({PickledInt(0)})),
                                     "\x89"}));
}

std::string PickledTensor(const ForgedTensor& tensor) {
  std::vector<std::string> chunks;
  for (const auto& [offsets, sizes] : tensor.chunks) {
    chunks.push_back(PickledObject(std::string(kModule) + "ChunkStorageMetadata",
                                   PickledDict({{PickledText("offsets"), PickledSize(offsets)},
                                                {PickledText("sizes"), PickledSize(sizes)}})));
  }
  return PickledObject(std::string(kModule) + "TensorStorageMetadata",
                       PickledDict({{PickledText("properties"),
                                     tensor.properties.empty() ? DenseFloats() : tensor.properties},
                                    {PickledText("size"), PickledSize(tensor.shape)},
                                    {PickledText("chunks"), PickledList(chunks)}}));
}

std::pair<std::string, std::string> PickledPlace(const ForgedPlace& place) {
  return {PickledObject(std::string(kModule) + "MetadataIndex",
                        PickledDict({{PickledText("fqn"), PickledText(place.name)},
                                     {PickledText("offset"), place.is_value ? "N" : PickledSize(place.offsets)},
                                     {PickledText("index"), "N"}})),
          PickledObject("torch.distributed.checkpoint.filesystem _StorageInfo",
                        PickledDict({{PickledText("relative_path"), PickledText(place.file)},
                                     {PickledText("offset"), PickledInt(place.offset)},
                                     {PickledText("length"), PickledInt(place.length)}}))};
}

}  // namespace

std::string PickledInt(int64_t value) { return "\x8a\x08" + LittleEndian(static_cast<uint64_t>(value), 8); }

std::string PickledText(const std::string& text) { return "X" + LittleEndian(text.size(), 4) + text; }

std::string PickledTuple(const std::vector<std::string>& items) { return "(" + Joined(items) + "t"; }

std::string PickledList(const std::vector<std::string>& items) { return "](" + Joined(items) + "e"; }

std::string PickledInts(const std::vector<int64_t>& values) {
  std::vector<std::string> items;
  for (const int64_t value : values) items.push_back(PickledInt(value));
  return PickledTuple(items);
}

std::string PickledDict(const std::vector<std::pair<std::string, std::string>>& items) {
  std::string text = "}(";
  for (const auto& [key, value] : items) text += key + value;
  return text + "u";
}

std::string PickledCall(const std::string& name, const std::string& arguments) {
  return PickledName(name) + arguments + "R";
}

std::string PickledObject(const std::string& name, const std::string& state) {
  return PickledName(name) + ")\x81" + state + "b";
}

std::string PickledAttack(const std::string& folder) {
  return PickledCall("posix mkdir", PickledTuple({PickledText(folder)}));
}

std::string ForgedMetadata::Pickled() const {
  std::vector<std::pair<std::string, std::string>> entries, paths, all_places;
  for (const ForgedTensor& tensor : tensors) entries.emplace_back(PickledText(tensor.name), PickledTensor(tensor));
  for (const std::string& name : values) {
    entries.emplace_back(PickledText(name), PickledCall(std::string(kModule) + "BytesStorageMetadata", ")"));
  }
  std::vector<std::string> names = values;
  for (const ForgedTensor& tensor : tensors) names.push_back(tensor.name);
  for (const std::string& name : names) paths.emplace_back(PickledText(name), PickledTuple({PickledText(name)}));
  for (const ForgedPlace& place : places) all_places.push_back(PickledPlace(place));
  std::vector<std::pair<std::string, std::string>> fields{{PickledText("state_dict_metadata"), PickledDict(entries)},
                                                          {PickledText("planner_data"), PickledDict(paths)},
                                                          {PickledText("storage_data"), PickledDict(all_places)}};
  if (!version.empty()) fields.emplace_back(PickledText("version"), PickledText(version));
  for (const auto& [name, value] : more) fields.emplace_back(PickledText(name), value);
  return "\x80\x04" + PickledObject(std::string(kModule) + "Metadata", PickledDict(fields)) + ".";
}

std::string ForgedItem(const std::string& pickle, const std::string* storage) {
  std::string item;
  caffe2::serialize::PyTorchStreamWriter archive([&](const void* bytes, size_t size) {
    item.append(static_cast<const char*>(bytes), size);
    return size;
  });
  archive.writeRecord("data.pkl", pickle.data(), pickle.size());
  archive.writeRecord("byteorder", "little", 6);
  if (storage) archive.writeRecord("data/0", storage->data(), storage->size());
  archive.writeEndOfFile();
  return item;
}

std::string ForgedTensorItem(const at::Tensor& tensor) {
  const std::string storage(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  const std::string id = PickledTuple({PickledText("storage"), PickledName("torch FloatStorage"), PickledText("0"),
                                       PickledText("cpu"), PickledInt(tensor.numel())});
  const std::string rebuilt =
      PickledCall("torch._utils _rebuild_tensor_v2",
                  PickledTuple({id + "Q", PickledInt(0), PickledInts(tensor.sizes().vec()),
                                PickledInts(tensor.strides().vec()), "\x89",
                                PickledCall("collections OrderedDict", ")")}));
  return ForgedItem("\x80\x02" + rebuilt + ".", &storage);
}

std::string ForgedTensorItem(const std::vector<int64_t>& shape, float first) {
  const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return ForgedTensorItem(at::arange(count, at::kFloat).add(first).view(shape));
}

std::string ForgedValueItem(const std::string& pickled) { return ForgedItem("\x80\x02" + pickled + ".", nullptr); }

}  // namespace shardcts::storage
