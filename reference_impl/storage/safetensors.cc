#include "storage/safetensors.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "storage/untrusted_json.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr int64_t kMaxHeaderBytes = int64_t{1} << 30;
constexpr size_t kLengthBytes = 8;
constexpr const char* kMetadata = "__metadata__";
constexpr const char* kShardingInfo = "DCP_SHARDING_INFO";

struct KnownDtype {
  at::ScalarType dtype;
  const char* name;
  int64_t bytes;
};
constexpr std::array kDtypes = {
    KnownDtype{at::kBool, "BOOL", 1},     KnownDtype{at::kByte, "U8", 1},       KnownDtype{at::kChar, "I8", 1},
    KnownDtype{at::kShort, "I16", 2},     KnownDtype{at::kHalf, "F16", 2},      KnownDtype{at::kBFloat16, "BF16", 2},
    KnownDtype{at::kInt, "I32", 4},       KnownDtype{at::kFloat, "F32", 4},     KnownDtype{at::kLong, "I64", 8},
    KnownDtype{at::kDouble, "F64", 8},    KnownDtype{at::kComplexFloat, "C64", 8},
    KnownDtype{at::kUInt16, "U16", 2},    KnownDtype{at::kUInt32, "U32", 4},  KnownDtype{at::kUInt64, "U64", 8},
    KnownDtype{at::kFloat8_e4m3fn, "F8_E4M3", 1}, KnownDtype{at::kFloat8_e5m2, "F8_E5M2", 1},
    KnownDtype{at::kFloat8_e8m0fnu, "F8_E8M0", 1},
};

std::optional<int64_t> BytesOf(const std::string& dtype) {
  for (const KnownDtype& known : kDtypes) {
    if (dtype == known.name) return known.bytes;
  }
  return std::nullopt;
}

void PutLength(std::string& text, uint64_t length) {
  for (size_t byte = 0; byte < kLengthBytes; ++byte) text[byte] = static_cast<char>(length >> (8 * byte) & 0xff);
}

uint64_t LengthIn(std::string_view text) {
  uint64_t length = 0;
  for (size_t byte = 0; byte < kLengthBytes; ++byte) {
    length |= uint64_t{static_cast<unsigned char>(text[byte])} << (8 * byte);
  }
  return length;
}

FileJson EntryJson(const FileChunk& chunk) {
  const std::optional<std::string> name = SafetensorsDtype(chunk.dtype);
  std::vector<int64_t> shape = chunk.box.sizes;
  if (!name) shape.push_back(static_cast<int64_t>(c10::elementSize(chunk.dtype)));
  return {{"dtype", name.value_or("U8")}, {"shape", shape}, {"data_offsets", {chunk.begin, chunk.end}}};
}

// Offsets of the header count from the end of the header.
SafetensorsEntry ReadEntry(const UntrustedPlace& place, int64_t data_begin, int64_t data_size) {
  SafetensorsEntry entry{place.At("dtype").Text(), place.At("shape").Numbers(), {}, 0, 0};
  const std::optional<int64_t> bytes = BytesOf(entry.dtype);
  if (!bytes) place.Fail("unknown dtype \"" + entry.dtype + "\"");
  int64_t size = *bytes;
  for (int64_t dim : entry.shape) {
    if (dim < 0 || __builtin_mul_overflow(size, dim, &size)) place.Fail("a shape that no file can hold");
  }
  const std::vector<int64_t> offsets = place.At("data_offsets").Numbers();
  if (offsets.size() != 2) place.Fail("data_offsets: expected two numbers");
  if (offsets[0] < 0 || offsets[1] < offsets[0] || offsets[1] > data_size) place.Fail("lies outside the file");
  if (offsets[1] - offsets[0] != size) {
    place.Fail("has " + std::to_string(offsets[1] - offsets[0]) + " bytes, shape and dtype need " + std::to_string(size));
  }
  entry.begin = data_begin + offsets[0];
  entry.end = data_begin + offsets[1];
  entry.saved_offsets.assign(entry.shape.size(), 0);
  return entry;
}

void ReadShardingInfo(const UntrustedPlace& metadata, std::map<std::string, SafetensorsEntry>& entries) {
  metadata.ForEach([](const std::string&, const UntrustedPlace& text) { text.Text(); });
  const auto info = metadata.json->find(kShardingInfo);
  if (info == metadata.json->end()) return;
  const std::string where = metadata.where + ": " + kShardingInfo;
  const FileJson parsed = ParseUntrusted(info->get_ref<const std::string&>(), where);
  UntrustedPlace{&parsed, where}.ForEach([&](const std::string& name, const UntrustedPlace& place) {
    const auto entry = entries.find(name);
    if (entry == entries.end()) return;
    entry->second.saved_offsets = place.At("saved_offsets").Numbers();
    if (entry->second.saved_offsets.size() != entry->second.shape.size()) {
      place.Fail("saved_offsets: expected one number for each dimension");
    }
    for (size_t dim = 0; dim < entry->second.shape.size(); ++dim) {
      const int64_t offset = entry->second.saved_offsets[dim];
      if (offset < 0 || offset > INT64_MAX - entry->second.shape[dim]) place.Fail("saved_offsets: out of range");
    }
  });
}

void CheckHoles(const std::map<std::string, SafetensorsEntry>& entries, int64_t begin, int64_t end,
                const UntrustedPlace& root) {
  std::vector<std::pair<int64_t, int64_t>> parts;
  for (const auto& [name, entry] : entries) parts.emplace_back(entry.begin, entry.end);
  std::ranges::sort(parts);
  for (const auto& [part_begin, part_end] : parts) {
    if (part_begin != begin) root.Fail(part_begin < begin ? "two tensors overlap" : "has bytes of no tensor");
    begin = part_end;
  }
  if (begin != end) root.Fail("has bytes of no tensor");
}

}  // namespace

std::optional<std::string> SafetensorsDtype(at::ScalarType dtype) {
  const auto found = std::ranges::find(kDtypes, dtype, &KnownDtype::dtype);
  return found == kDtypes.end() ? std::nullopt : std::optional<std::string>(found->name);
}

std::optional<at::ScalarType> DtypeOfSafetensors(const std::string& name) {
  const auto found = std::ranges::find(kDtypes, name, &KnownDtype::name);
  return found == kDtypes.end() ? std::nullopt : std::optional(found->dtype);
}

std::string LayOut(std::vector<FileChunk>& chunks) {
  std::ranges::stable_sort(chunks, std::ranges::greater(),
                           [](const FileChunk& chunk) { return c10::elementSize(chunk.dtype); });
  FileJson header = FileJson::object(), sharding = FileJson::object();
  for (const FileChunk& chunk : chunks) {
    std::vector<int64_t> offsets = chunk.box.offsets;
    if (!SafetensorsDtype(chunk.dtype)) offsets.push_back(0);
    sharding[chunk.name] = {{"saved_offsets", offsets}};
  }
  int64_t end = 0;
  std::string text;
  try {
    header[kMetadata] = {{"format", "pt"}, {"DCP_VERSION", "1.0"}, {kShardingInfo, sharding.dump()}};
    for (FileChunk& chunk : chunks) {
      if (chunk.name == kMetadata) throw SemanticError("ValueError", "the name __metadata__ is the format's own");
      chunk.begin = end;
      chunk.end = end += NumElements(chunk.box.sizes) * static_cast<int64_t>(c10::elementSize(chunk.dtype));
      header[chunk.name] = EntryJson(chunk);
    }
    text = header.dump();
  } catch (const FileJson::type_error&) {
    throw SemanticError("ValueError", "a name is not UTF-8");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string length(kLengthBytes, '\0');
  PutLength(length, text.size());
  const int64_t data_begin = static_cast<int64_t>(kLengthBytes + text.size());
  for (FileChunk& chunk : chunks) chunk.begin += data_begin, chunk.end += data_begin;
  return length + text;
}

std::map<std::string, SafetensorsEntry> ReadSafetensorsHeader(const ReadableFile& file, const std::string& file_name) {
  const UntrustedPlace nothing{nullptr, file_name};
  std::string text(kLengthBytes, '\0');
  if (file.size() < static_cast<int64_t>(kLengthBytes)) nothing.Fail("is shorter than its length field");
  file.ReadAt(0, text);
  const uint64_t length = LengthIn(text);
  const int64_t rest = file.size() - static_cast<int64_t>(kLengthBytes);
  if (length > static_cast<uint64_t>(std::min(rest, kMaxHeaderBytes))) {
    nothing.Fail("the header of " + std::to_string(length) + " bytes leaves the file, or is too long");
  }
  text.assign(length, '\0');
  file.ReadAt(static_cast<int64_t>(kLengthBytes), text);
  const FileJson header = ParseUntrusted(text, file_name + ": the header");
  const UntrustedPlace root{&header, file_name};
  const int64_t data_begin = static_cast<int64_t>(kLengthBytes + length);
  std::map<std::string, SafetensorsEntry> entries;
  root.ForEach([&](const std::string& name, const UntrustedPlace& place) {
    if (name != kMetadata) entries[name] = ReadEntry(place, data_begin, file.size() - data_begin);
  });
  if (header.contains(kMetadata)) ReadShardingInfo(root.At(kMetadata), entries);
  CheckHoles(entries, data_begin, file.size(), root);
  return entries;
}

}  // namespace shardcts::reference
