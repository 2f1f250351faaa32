#include <ATen/ATen.h>
#include <caffe2/serialize/inline_container.h>

#include <exception>

#include "contract/tensor_bytes.h"
#include "storage/pickle_writer.h"
#include "storage/torch_item.h"
#include "storage/torch_names.h"
#include "storage/utf8.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr uint8_t kItemProtocol = 2;  // as torch.save

// LibTorch's archive writer, on a file of ours. Errors of the file must not pass through it: it is C in part.
class ItemWriter {
 public:
  explicit ItemWriter(WritableFile& file)
      : file_(file), archive_([this](const void* bytes, size_t size) { return Append(bytes, size); }) {}

  void Record(const std::string& name, std::string_view bytes) {
    Guarded([&] { archive_.writeRecord(name, bytes.data(), bytes.size()); });
  }
  int64_t Finish() {
    Guarded([&] { archive_.writeEndOfFile(); });
    return written_;
  }

 private:
  size_t Append(const void* bytes, size_t size) {
    if (failure_) return 0;
    try {
      file_.Append({static_cast<const char*>(bytes), size});
      written_ += static_cast<int64_t>(size);
      return size;
    } catch (...) {
      failure_ = std::current_exception();
      return 0;
    }
  }
  template <class Step>
  void Guarded(const Step& step) {
    try {
      step();
    } catch (...) {
      if (!failure_) throw;
    }
    if (failure_) std::rethrow_exception(failure_);
  }
  WritableFile& file_;
  int64_t written_ = 0;
  std::exception_ptr failure_;
  caffe2::serialize::PyTorchStreamWriter archive_;
};

int64_t WriteItem(WritableFile& file, const std::string& pickle, const std::string_view* storage) {
  ItemWriter item(file);
  item.Record("data.pkl", pickle);
  item.Record(".format_version", "1");
  item.Record(".storage_alignment", "64");
  item.Record("byteorder", "little");
  if (storage) item.Record("data/0", *storage);
  return item.Finish();
}

void Write(PickleWriter& pickle, const Value& value) {
  switch (value.type()) {
    case Value::Type::kNone: pickle.None(); return;
    case Value::Type::kBool: pickle.Bool(value.AsBool()); return;
    case Value::Type::kInt: pickle.Int(value.AsInt()); return;
    case Value::Type::kDouble: pickle.Double(value.AsDouble()); return;
    case Value::Type::kString:
      if (!IsUtf8(value.AsString())) throw SemanticError("ValueError", "a text that is not UTF-8");
      pickle.Text(value.AsString());
      return;
    case Value::Type::kBytes:
      pickle.Name("_codecs", "encode").Mark().Text(Utf8OfLatin1(value.TryAs<Bytes>()->data)).Text("latin1");
      pickle.TupleFromMark().Call();
      return;
    case Value::Type::kList:
      pickle.EmptyList().Mark();
      for (const Value& item : value.AsList()) Write(pickle, item);
      pickle.AppendsFromMark();
      return;
    case Value::Type::kDict:
      pickle.EmptyDict().Mark();
      for (const auto& [key, item] : value.AsDict()) {
        std::visit([&](const auto& one) { Write(pickle, Value(one)); }, key);
        Write(pickle, item);
      }
      pickle.SetItemsFromMark();
      return;
    default: throw SemanticError("TypeError", "no plain value: " + std::string(value.TypeName()));
  }
}

}  // namespace

int64_t WriteTensorItem(WritableFile& file, const at::Tensor& contiguous) {
  const TorchDtype* names = NamesOf(contiguous.scalar_type());
  if (!names) throw SemanticError("TypeError", "a tensor of " + DtypeName(contiguous.scalar_type()));
  const bool is_untyped = names->storage.empty();
  PickleWriter pickle(kItemProtocol);
  const auto torch_name = [&](std::string_view name) { pickle.Name("torch", name.substr(name.find(' ') + 1)); };
  pickle.Name("torch._utils", is_untyped ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2").Mark().Mark().Text("storage");
  is_untyped ? void(pickle.Name("torch.storage", "UntypedStorage")) : torch_name(names->storage);
  pickle.Text("0").Text("cpu");
  pickle.Int(is_untyped ? static_cast<int64_t>(contiguous.nbytes()) : contiguous.numel()).TupleFromMark().Persistent();
  pickle.Int(0).Ints(contiguous.sizes().vec()).Ints(contiguous.strides().vec()).Bool(false);
  pickle.Name("collections", "OrderedDict").EmptyTuple().Call();
  if (is_untyped) torch_name(names->name);
  const std::string text = pickle.TupleFromMark().Call().Finish();
  const std::string_view bytes = BytesView(contiguous);
  return WriteItem(file, text, &bytes);
}

int64_t WriteValueItem(WritableFile& file, const Value& value) {
  PickleWriter pickle(kItemProtocol);
  Write(pickle, value);
  return WriteItem(file, pickle.Finish(), nullptr);
}

}  // namespace shardcts::reference
