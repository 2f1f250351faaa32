#include "storage/dcp_metadata.h"
#include "storage/pickle_writer.h"
#include "storage/torch_names.h"

namespace shardcts::reference {
namespace {

constexpr const char* kModule = "torch.distributed.checkpoint.metadata";
constexpr uint8_t kProtocol = 4;

class MetadataWriter {
 public:
  std::string Write(const DcpMetadata& metadata) {
    Begin(kModule, "Metadata").Text("state_dict_metadata").EmptyDict().Mark();
    for (const std::string& name : metadata.order) WriteEntry(name, metadata.entries.at(name));
    pickle_.SetItemsFromMark().Text("planner_data").EmptyDict().Mark();
    for (const std::string& name : metadata.order) WritePath(name, metadata.entries.at(name).path);
    pickle_.SetItemsFromMark().Text("storage_data").EmptyDict().Mark();
    for (const auto& [index, place] : metadata.places) {
      WriteIndex(index.first, index.second);
      WritePlace(place);
    }
    pickle_.SetItemsFromMark().Text("storage_meta");
    Begin(kModule, "StorageMeta").Text("checkpoint_id").None().Text("save_id").None().Text("load_id").None();
    End(pickle_.Text("modules").EmptyList());
    End(pickle_.Text("version").Text("1.0.0"));
    return pickle_.Finish();
  }

 private:
  // An object whose fields follow.
  PickleWriter& Begin(const char* module, const char* name) {
    return pickle_.Name(module, name).EmptyTuple().New().EmptyDict().Mark();
  }
  static void End(PickleWriter& pickle) { pickle.SetItemsFromMark().State(); }

  PickleWriter& Size(const std::vector<int64_t>& numbers) {
    return pickle_.Name("torch", "Size").Mark().Ints(numbers).TupleFromMark().Call();
  }

  void WriteEntry(const std::string& name, const DcpEntry& entry) {
    pickle_.Text(name);
    if (!entry.is_tensor) {
      pickle_.Name(kModule, "BytesStorageMetadata").EmptyTuple().New();
      return;
    }
    Begin(kModule, "TensorStorageMetadata").Text("properties");
    WriteProperties(entry.dtype);
    pickle_.Text("size");
    Size(entry.shape).Text("chunks").EmptyList().Mark();
    for (const Box& chunk : entry.chunks) {
      Begin(kModule, "ChunkStorageMetadata").Text("offsets");
      Size(chunk.offsets).Text("sizes");
      End(Size(chunk.sizes));
    }
    End(pickle_.AppendsFromMark());
  }

  // dtype, layout, requires_grad, memory format, pinned.
  void WriteProperties(at::ScalarType dtype) {
    const std::string_view name = NamesOf(dtype)->name;
    pickle_.Name(kModule, "TensorProperties").EmptyTuple().New().Mark();
    pickle_.Name("torch", name.substr(name.find(' ') + 1));
    pickle_.Name("torch.serialization", "_get_layout").Mark().Text("torch.strided").TupleFromMark().Call().Bool(false);
    pickle_.Name(kModule, "_MEM_FORMAT_ENCODING").Mark().Int(0).TupleFromMark().Call().Bool(false);
    pickle_.TupleFromMark().State();
  }

  // PyTorch flattens with the texts of keys that are integers.
  void WritePath(const std::string& name, const Path& path) {
    pickle_.Text(name).Mark();
    for (const PathStep& step : path) {
      step.is_index ? pickle_.Int(std::get<int64_t>(step.key)) : pickle_.Text(ToString(step.key));
    }
    pickle_.TupleFromMark();
  }

  void WriteIndex(const std::string& name, const std::optional<std::vector<int64_t>>& offsets) {
    Begin(kModule, "MetadataIndex").Text("fqn").Text(name).Text("offset");
    offsets ? Size(*offsets) : pickle_.None();
    End(pickle_.Text("index").None());
  }

  void WritePlace(const DcpPlace& place) {
    Begin("torch.distributed.checkpoint.filesystem", "_StorageInfo").Text("relative_path").Text(place.file);
    End(pickle_.Text("offset").Int(place.range.begin).Text("length").Int(place.range.size()));
  }

  PickleWriter pickle_{kProtocol};
};

}  // namespace

std::string ToPickle(const DcpMetadata& metadata) { return MetadataWriter().Write(metadata); }

}  // namespace shardcts::reference
