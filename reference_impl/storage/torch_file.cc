#include "storage/torch_file.h"

#include <ATen/ATen.h>
#include <ATen/core/Dict.h>
#include <ATen/core/List.h>
#include <ATen/core/jit_type.h>
#include <c10/util/Exception.h>
#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/serialization/pickler.h>

#include <array>

#include "contract/tensor_bytes.h"
#include "serialization/value_bytes.h"
#include "storage/torch_item.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr int64_t kMaxOwnBytes = int64_t{16} << 30;  // of state.serialize

[[noreturn]] void FailForValue(const std::string& place, const std::string& problem) {
  throw SemanticError("TypeError", "\"" + place + "\": " + problem);
}

std::string PlaceBelow(const std::string& place, const std::string& key) {
  return place.empty() ? key : place + "." + key;
}

c10::IValue ToIValue(const Value& value, const std::string& place);

c10::IValue DictToIValue(const Dict& dict, const std::string& place) {
  c10::impl::GenericDict made(c10::AnyType::get(), c10::AnyType::get());
  for (const auto& [key, inner] : dict) {
    const c10::IValue name = std::visit([](const auto& given) { return c10::IValue(given); }, key);
    made.insert(name, ToIValue(inner, PlaceBelow(place, ToString(key))));
  }
  return made;
}

c10::IValue ListToIValue(const List& list, const std::string& place) {
  c10::impl::GenericList made(c10::AnyType::get());
  for (size_t i = 0; i < list.size(); ++i) made.push_back(ToIValue(list[i], PlaceBelow(place, std::to_string(i))));
  return made;
}

c10::IValue ToIValue(const Value& value, const std::string& place) {
  switch (value.type()) {
    case Value::Type::kNone: return {};
    case Value::Type::kBool: return value.AsBool();
    case Value::Type::kInt: return value.AsInt();
    case Value::Type::kDouble: return value.AsDouble();
    case Value::Type::kString: return value.AsString();
    case Value::Type::kList: return ListToIValue(value.AsList(), place);
    case Value::Type::kDict: return DictToIValue(value.AsDict(), place);
    case Value::Type::kTensor: return ContiguousOnCpu(value.AsTensor().detach().resolve_conj().resolve_neg());
    default: FailForValue(place, "a file of torch.save has no " + std::string(value.TypeName()));
  }
}

// LibTorch's pickle_save, but without the marks of types that only TorchScript reads.
std::string TorchFileBytes(const c10::IValue& value) {
  std::string pickled, file;
  torch::jit::Pickler pickler([&](const char* bytes, size_t size) { pickled.append(bytes, size); }, nullptr, nullptr,
                              nullptr, nullptr, /*tag_aggregates=*/false);
  pickler.protocol();
  pickler.pushIValue(value);
  pickler.stop();
  caffe2::serialize::PyTorchStreamWriter writer([&](const void* bytes, size_t size) {
    file.append(static_cast<const char*>(bytes), size);
    return size;
  });
  writer.writeRecord("data.pkl", pickled.data(), pickled.size());
  size_t index = 0;
  for (const at::Tensor& tensor : pickler.tensorData()) {
    writer.writeRecord("data/" + std::to_string(index++), tensor.storage().data(), tensor.storage().nbytes());
  }
  writer.writeEndOfFile();
  return file;
}

bool IsZip(const ReadableFile& file) {
  std::array<char, 4> begin{};
  if (file.size() < static_cast<int64_t>(begin.size())) return false;
  file.ReadAt(0, begin);
  return std::string_view(begin.data(), begin.size()) == "PK\x03\x04";
}

}  // namespace

void WriteTorchFile(Files& files, const std::string& path, const Dict& state_dict) {
  const std::string bytes = TorchFileBytes(DictToIValue(state_dict, "")), unfinished = path + ".unfinished";
  files.RemoveIfPossible(unfinished);
  try {
    const std::unique_ptr<WritableFile> file = files.Create(unfinished);
    file->Append(bytes);
    file->Finish();
    files.Rename(unfinished, path);
  } catch (...) {
    files.RemoveIfPossible(unfinished);
    throw;
  }
}

Dict ReadTorchFile(Files& files, const std::string& path) {
  const std::unique_ptr<ReadableFile> file = files.Open(path);
  const Value read = IsZip(*file) ? ReadStateItem(*file, {0, file->size()}, path)
                                  : FromBytes(ReadText(files, path, kMaxOwnBytes), {});
  if (read.type() != Value::Type::kDict) throw SemanticError("RuntimeError", path + ": has no state dict");
  return read.AsDict();
}

}  // namespace shardcts::reference
