#include "suites/storage/safetensors_files.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>

#include "contract/json_codec.h"
#include "contract/tensor_bytes.h"
#include "rank/session.h"
#include "suites/storage/files_on_disk.h"

namespace shardcts::storage {
namespace {

const std::map<std::string, at::ScalarType>& DtypesByName() {
  static const std::map<std::string, at::ScalarType> names = {
      {"BOOL", at::kBool},     {"U8", at::kByte},    {"I8", at::kChar},   {"I16", at::kShort}, {"I32", at::kInt},
      {"I64", at::kLong},      {"F16", at::kHalf},   {"BF16", at::kBFloat16}, {"F32", at::kFloat}, {"F64", at::kDouble},
      {"U16", at::kUInt16},    {"U32", at::kUInt32}, {"U64", at::kUInt64}, {"C64", at::kComplexFloat},
      {"F8_E4M3", at::kFloat8_e4m3fn}, {"F8_E5M2", at::kFloat8_e5m2}};
  return names;
}

std::optional<at::ScalarType> DtypeNamed(const std::string& name) {
  const auto found = DtypesByName().find(name);
  return found == DtypesByName().end() ? std::nullopt : std::optional(found->second);
}

std::string NameOf(at::ScalarType dtype) {
  for (const auto& [name, named] : DtypesByName()) {
    if (named == dtype) return name;
  }
  throw HarnessError("safetensors has no " + DtypeName(dtype));
}

// One file while it is read.
struct OpenFile {
  std::string path;
  std::string content;
  Json header;
  size_t data_begin = 0;
  Json sharding = Json::object();
  std::vector<std::pair<size_t, size_t>> taken;  // of the data

  std::string Named(const std::string& problem) const {
    return std::filesystem::path(path).filename().string() + ": " + problem;
  }
};

bool ReadHeader(OpenFile& file, std::vector<std::string>& problems) {
  uint64_t length = 0;
  if (file.content.size() < sizeof length) return problems.push_back(file.Named("is too short")), false;
  std::memcpy(&length, file.content.data(), sizeof length);
  if (length > file.content.size() - sizeof length) return problems.push_back(file.Named("its header leaves it")), false;
  file.data_begin = sizeof length + length;
  file.header = Json::parse(file.content.substr(sizeof length, length), nullptr, /*allow_exceptions=*/false);
  if (!file.header.is_object()) return problems.push_back(file.Named("its header is no JSON object")), false;
  const Json metadata = file.header.value("__metadata__", Json::object());
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) problems.push_back(file.Named("__metadata__ has something other than texts"));
  }
  if (metadata.contains("DCP_SHARDING_INFO") && metadata["DCP_SHARDING_INFO"].is_string()) {
    file.sharding = Json::parse(metadata["DCP_SHARDING_INFO"].get<std::string>(), nullptr, false);
  }
  return true;
}

std::optional<StoredPart> ReadPart(OpenFile& file, const std::string& name, const Json& entry) {
  const auto dtype = DtypeNamed(entry.value("dtype", ""));
  const auto shape = entry.value("shape", std::vector<int64_t>());
  const auto places = entry.value("data_offsets", std::vector<size_t>());
  if (!dtype || places.size() != 2 || places[1] < places[0]) return std::nullopt;
  if (places[1] > file.content.size() - file.data_begin) return std::nullopt;
  at::Tensor tensor = at::empty(shape, at::TensorOptions().dtype(*dtype));
  if (tensor.nbytes() != places[1] - places[0]) return std::nullopt;
  std::memcpy(tensor.mutable_data_ptr(), file.content.data() + file.data_begin + places[0], tensor.nbytes());
  file.taken.emplace_back(places[0], places[1]);
  std::vector<int64_t> offsets(shape.size(), 0);
  if (file.sharding.is_object() && file.sharding.contains(name)) {
    offsets = file.sharding[name].value("saved_offsets", offsets);
  }
  if (offsets.size() != shape.size()) return std::nullopt;
  return StoredPart{offsets, tensor};
}

// The data are those of the entries, each once.
void CheckTaken(OpenFile& file, std::vector<std::string>& problems) {
  std::ranges::sort(file.taken);
  size_t end = 0;
  for (const auto& [begin, next] : file.taken) {
    if (begin != end) return problems.push_back(file.Named("its entries do not tile its data"));
    end = next;
  }
  if (end != file.content.size() - file.data_begin) problems.push_back(file.Named("has bytes behind its entries"));
}

at::Tensor Part(const at::Tensor& whole, const StoredPart& part) {
  at::Tensor view = whole;
  for (int64_t dim = 0; dim < part.tensor.dim(); ++dim) {
    view = view.narrow(dim, part.offsets[static_cast<size_t>(dim)], part.tensor.size(dim));
  }
  return view;
}

at::Tensor PutTogether(const std::string& name, const std::vector<StoredPart>& parts,
                       std::vector<std::string>& problems) {
  std::vector<int64_t> shape(parts.front().offsets.size(), 0);
  for (const StoredPart& part : parts) {
    for (size_t dim = 0; dim < shape.size(); ++dim) {
      shape[dim] = std::max(shape[dim], part.offsets[dim] + part.tensor.size(static_cast<int64_t>(dim)));
    }
  }
  at::Tensor whole = at::zeros(shape, parts.front().tensor.options()), times = at::zeros(shape, at::kInt);
  for (const StoredPart& part : parts) {
    Part(whole, part).copy_(part.tensor);
    Part(times, part).add_(1);
  }
  if (!times.eq(1).all().item<bool>()) problems.push_back("\"" + name + "\": its parts do not tile it");
  return whole;
}

}  // namespace

std::map<std::string, StoredPart> ReadSafetensors(const std::string& path, std::vector<std::string>& problems) {
  OpenFile file{.path = path, .content = ContentOf(path)};
  std::map<std::string, StoredPart> parts;
  if (!ReadHeader(file, problems)) return parts;
  for (const auto& [name, entry] : file.header.items()) {
    if (name == "__metadata__") continue;
    if (std::optional<StoredPart> part = entry.is_object() ? ReadPart(file, name, entry) : std::nullopt) {
      parts.emplace(name, *part);
    } else {
      problems.push_back(file.Named("the entry \"" + name + "\" is wrong"));
    }
  }
  CheckTaken(file, problems);
  return parts;
}

std::map<std::string, at::Tensor> ReadSafetensorsBelow(const std::string& folder, std::vector<std::string>& problems) {
  std::map<std::string, std::vector<StoredPart>> parts;
  for (const auto& [name, digest] : DigestsBelow(folder)) {
    if (!name.ends_with(".safetensors")) continue;
    for (const auto& [key, part] : ReadSafetensors(folder + "/" + name, problems)) parts[key].push_back(part);
  }
  std::map<std::string, at::Tensor> tensors;
  for (const auto& [name, of_name] : parts) tensors[name] = PutTogether(name, of_name, problems);
  return tensors;
}

void WriteSafetensors(const std::string& path, const Dict& tensors) {
  Json header = Json::object();
  std::string data;
  for (const auto& [name, value] : tensors) {
    const at::Tensor tensor = value.AsTensor().contiguous();
    const size_t begin = data.size();
    data.append(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
    header[ToString(name)] = {
        {"dtype", NameOf(tensor.scalar_type())}, {"shape", tensor.sizes().vec()}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump();
  std::string length;
  for (int byte = 0; byte < 8; ++byte) length += static_cast<char>(text.size() >> (8 * byte) & 0xff);
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << length << text << data;
}

void WriteIndexedSafetensors(const std::string& folder, const Dict& tensors) {
  WriteSafetensors(folder + "/model.safetensors", tensors);
  Json weight_map = Json::object();
  int64_t bytes = 0;
  for (const auto& [name, value] : tensors) {
    weight_map[ToString(name)] = "model.safetensors";
    bytes += static_cast<int64_t>(value.AsTensor().nbytes());
  }
  std::ofstream(folder + "/" + kSafetensorsIndex)
      << Json{{"metadata", {{"total_size", bytes}}}, {"weight_map", weight_map}};
}

}  // namespace shardcts::storage
