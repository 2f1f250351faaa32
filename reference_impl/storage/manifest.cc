#include "storage/manifest.h"

#include <algorithm>

#include "contract/json_codec.h"
#include "contract/tensor_bytes.h"
#include "storage/read_manifest.h"
#include "storage/untrusted_json.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr const char* kFormat = "shardcts checkpoint";

bool IsPlainName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.front() != '.' && name.find('/') == name.npos &&
         name.find('\0') == name.npos;
}

FileJson PathJson(const Path& path) {
  FileJson steps = FileJson::array();
  for (const PathStep& step : path) {
    const int64_t* number = std::get_if<int64_t>(&step.key);
    if (!number) {
      steps.push_back(std::get<std::string>(step.key));
    } else if (step.is_index) {
      steps.push_back(*number);
    } else {
      steps.push_back(FileJson{{"key", *number}});
    }
  }
  return steps;
}

Path ReadPath(const UntrustedPlace& place) {
  Path path;
  for (const UntrustedPlace& step : place.Elements()) {
    if (step.json->is_string()) {
      path.push_back({step.Text(), false});
    } else if (step.json->is_object()) {
      path.push_back({step.At("key").Number(), false});
    } else {
      path.push_back({step.Number(), true});
    }
  }
  if (path.empty() || path.front().is_index) place.Fail("is no path from a dict");
  if (path.size() > static_cast<size_t>(kMaxJsonDepth)) place.Fail("is too long");
  return path;
}

SavedChunk ReadChunk(const UntrustedPlace& place, const Manifest& manifest) {
  SavedChunk chunk;
  chunk.box = {place.At("offsets").Numbers(), place.At("sizes").Numbers()};
  chunk.file = place.At("file").Text();
  chunk.digest = place.At("digest").Text();
  const std::vector<int64_t> bytes = place.At("bytes").Numbers();
  if (bytes.size() != 2) place.Fail("bytes: expected two numbers");
  chunk.begin = bytes[0], chunk.end = bytes[1];
  const auto file = manifest.files.find(chunk.file);
  if (file == manifest.files.end()) place.Fail("its file is not among the checkpoint's");
  if (chunk.begin < 0 || chunk.end < chunk.begin || chunk.end > file->second) place.Fail("leaves its file");
  return chunk;
}

SavedTensor ReadTensor(const UntrustedPlace& place, const Manifest& manifest, Complaints& complaints) {
  SavedTensor tensor{.path = ReadPath(place.At("path"))};
  const std::optional<at::ScalarType> dtype = ParseDtype(place.At("dtype").Text());
  if (!dtype) place.Fail("unknown dtype");
  tensor.dtype = *dtype;
  tensor.shape = place.At("shape").Numbers();
  const int64_t element = static_cast<int64_t>(c10::elementSize(tensor.dtype));
  int64_t bytes = element;
  for (int64_t size : tensor.shape) {
    if (size < 0 || __builtin_mul_overflow(bytes, std::max<int64_t>(size, 1), &bytes)) place.Fail("an impossible shape");
  }
  std::vector<Box> boxes;
  for (const UntrustedPlace& chunk : place.At("chunks").Elements()) {
    tensor.chunks.push_back(ReadChunk(chunk, manifest));
    boxes.push_back(tensor.chunks.back().box);
  }
  const std::vector<std::string> problems = TilingProblems(tensor.shape, boxes);
  for (const std::string& problem : problems) complaints.Problem(place.where + ": " + problem);
  if (!problems.empty()) return tensor;
  for (const SavedChunk& chunk : tensor.chunks) {
    if (chunk.end - chunk.begin != NumElements(chunk.box.sizes) * element) place.Fail("a chunk of another size in its file");
  }
  return tensor;
}

bool IsPlainValue(const Value& value) {
  if (const List* list = value.TryAs<List>()) return std::ranges::all_of(*list, IsPlainValue);
  if (const Dict* dict = value.TryAs<Dict>()) {
    return std::ranges::all_of(*dict, [](const Dict::Entry& entry) { return IsPlainValue(entry.value); });
  }
  return !IsTensorValue(value) && value.type() != Value::Type::kHandle;
}

SavedValue ReadValue(const UntrustedPlace& place) {
  SavedValue saved{ReadPath(place.At("path")), {}};
  try {
    saved.value = Decode(Json(*place.At("value").json));
  } catch (const ContractViolation& violation) {
    place.Fail(violation.what());
  }
  if (!IsPlainValue(saved.value)) place.Fail("is no plain value");
  return saved;
}

void ReadFiles(const UntrustedPlace& place, Manifest& manifest) {
  place.ForEach([&](const std::string& name, const UntrustedPlace& size) {
    if (!IsPlainName(name)) size.Fail("is no plain name of a file");
    manifest.files[name] = size.Number();
    if (manifest.files[name] < 0) size.Fail("a negative size");
  });
}

constexpr std::string_view kDigestKey = ",\"digest\":\"";

// The last member of the object is the digest of the text before it, so that a changed value shows.
std::string WithDigest(const std::string& object) {
  const std::string members = object.substr(0, object.size() - 1);
  return members + std::string(kDigestKey) + Digest(members) + "\"}";
}

bool HasItsDigest(const std::string& text) {
  const size_t place = text.rfind(kDigestKey);
  return place != text.npos && WithDigest(text.substr(0, place) + "}") == text;
}

}  // namespace

bool IsSaveFolder(const std::string& name) {
  return name.size() == 21 && name.starts_with("save-") &&
         std::ranges::all_of(name.substr(5), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

std::string ToText(const Manifest& manifest) {
  FileJson tensors = FileJson::object(), values = FileJson::object();
  for (const auto& [name, tensor] : manifest.tensors) {
    FileJson chunks = FileJson::array();
    for (const SavedChunk& chunk : tensor.chunks) {
      chunks.push_back({{"offsets", chunk.box.offsets}, {"sizes", chunk.box.sizes}, {"file", chunk.file},
                        {"bytes", {chunk.begin, chunk.end}}, {"digest", chunk.digest}});
    }
    tensors[name] = {{"path", PathJson(tensor.path)}, {"dtype", DtypeName(tensor.dtype)}, {"shape", tensor.shape},
                     {"chunks", std::move(chunks)}};
  }
  for (const auto& [name, saved] : manifest.values) {
    values[name] = {{"path", PathJson(saved.path)}, {"value", FileJson(Encode(saved.value))}};
  }
  FileJson root{{"format", kFormat},          {"version", kManifestVersion}, {"folder", manifest.folder},
                {"files", manifest.files},    {"order", manifest.order},     {"tensors", std::move(tensors)},
                {"values", std::move(values)}};
  try {
    return WithDigest(root.dump());
  } catch (const FileJson::type_error&) {
    throw SemanticError("ValueError", "a name or a text in a value is not UTF-8");
  }
}

Manifest ManifestFrom(const std::string& text, const std::string& file_name) {
  Complaints complaints(Complaints::Kind::kThrow);
  return ManifestFrom(text, file_name, complaints);
}

Manifest ManifestFrom(const std::string& text, const std::string& file_name, Complaints& complaints) {
  const FileJson json = ParseUntrusted(text, file_name);
  const UntrustedPlace root{&json, file_name};
  if (root.At("format").Text() != kFormat) root.Fail("is no manifest of a checkpoint");
  if (root.At("version").Number() != kManifestVersion) {
    root.Fail("has version " + std::to_string(root.At("version").Number()) + ", version " +
              std::to_string(kManifestVersion) + " is known");
  }
  Manifest manifest{.folder = root.At("folder").Text()};
  if (!IsSaveFolder(manifest.folder)) root.At("folder").Fail("is no folder of a save");
  manifest.version = kManifestVersion;
  ReadFiles(root.At("files"), manifest);
  root.At("tensors").ForEach([&](const std::string& name, const UntrustedPlace& place) {
    complaints.Try([&] { manifest.tensors[name] = ReadTensor(place, manifest, complaints); });
  });
  root.At("values").ForEach([&](const std::string& name, const UntrustedPlace& place) {
    if (manifest.tensors.contains(name)) place.Fail("is a tensor, too");
    complaints.Try([&] { manifest.values[name] = ReadValue(place); });
  });
  for (const UntrustedPlace& place : root.At("order").Elements()) manifest.order.push_back(place.Text());
  std::vector<std::string> sorted = manifest.order, names;
  for (const auto& [name, tensor] : manifest.tensors) names.push_back(name);
  for (const auto& [name, value] : manifest.values) names.push_back(name);
  std::ranges::sort(sorted);
  std::ranges::sort(names);
  if (sorted != names) complaints.Problem(file_name + ": order: has other names than tensors and values");
  if (root.json->contains("digest") && !HasItsDigest(text)) {
    complaints.Problem(file_name + ": is not what was written: it has another digest");
  }
  return manifest;
}

std::string ChunkDigest(std::string_view bytes) {
  if (bytes.size() <= static_cast<size_t>(kDigestBlock)) return Digest(bytes);
  std::string digests;
  for (size_t begin = 0; begin < bytes.size(); begin += kDigestBlock) digests += Digest(bytes.substr(begin, kDigestBlock));
  return Digest(digests);
}

}  // namespace shardcts::reference
