#include "storage/dcp_checkpoint.h"

#include <algorithm>
#include <memory>

#include "contract/tensor_bytes.h"
#include "storage/dcp_metadata.h"
#include "storage/torch_item.h"

namespace shardcts::reference {
namespace {

std::string Quoted(const std::string& name) { return "\"" + name + "\""; }

// One checkpoint while it is looked at.
class DcpReader {
 public:
  DcpReader(Files& files, const std::string& path, Complaints& complaints)
      : files_(files), path_(path), complaints_(complaints) {}

  Manifest Read() {
    const std::string file = path_ + "/" + kDcpMetadataName;
    const std::string text = ReadText(files_, file, kMaxDcpMetadataBytes);
    metadata_ = ReadDcpMetadata(text, file);
    manifest_.identity = Digest(text);
    if (metadata_.version.empty())
      complaints_.Note(file + " has no version: it is of an older PyTorch, or not of PyTorch");
    FindItems();
    for (const std::string& name : metadata_.order) {
      const DcpEntry& entry = metadata_.entries.at(name);
      entry.is_tensor ? ReadTensor(name, entry) : ReadValue(name, entry);
    }
    NoteStrangers();
    return std::move(manifest_);
  }

 private:
  using Index = std::pair<std::string, std::optional<std::vector<int64_t>>>;

  std::string Where(const std::string& name, const DcpPlace& place) const {
    return Quoted(name) + " in " + path_ + "/" + place.file + " at byte " + std::to_string(place.range.begin);
  }

  // Opens the files, and finds the items that lie in theirs and share no byte with another one.
  void FindItems() {
    std::map<std::string, std::vector<std::pair<FileRange, const Index*>>> items;
    for (const auto& [index, place] : metadata_.places) {
      if (!Opened(place.file)) continue;
      if (place.range.end > opened_[place.file]->size()) {
        complaints_.Problem(Where(index.first, place) + ": its " + std::to_string(place.range.size()) +
                            " bytes leave the file of " + std::to_string(opened_[place.file]->size()) + " bytes");
      } else {
        items[place.file].emplace_back(place.range, &index);
      }
    }
    for (auto& [file, ranges] : items) {
      std::ranges::sort(ranges, {}, [](const auto& one) { return std::pair(one.first.begin, one.first.end); });
      for (size_t i = 0; i < ranges.size(); ++i) {
        if (i > 0 && ranges[i].first.begin < ranges[i - 1].first.end) {
          complaints_.Problem(Where(ranges[i].second->first, metadata_.places.at(*ranges[i].second)) +
                              ": overlaps with the item of " + Quoted(ranges[i - 1].second->first));
        } else {
          usable_[*ranges[i].second] = true;
        }
      }
    }
  }

  bool Opened(const std::string& file) {
    const auto [place, is_new] = opened_.try_emplace(file);
    if (is_new) {
      complaints_.Try([&] { place->second = files_.OpenBelow(path_, file); });
      if (place->second) manifest_.files[file] = place->second->size();
    }
    return place->second != nullptr;
  }

  // nullptr: it has been complained about.
  const DcpPlace* Find(const std::string& name, const std::optional<std::vector<int64_t>>& offsets,
                       const std::string& what) {
    const auto found = metadata_.places.find({name, offsets});
    if (found == metadata_.places.end()) return complaints_.Problem(Quoted(name) + ": no file has " + what), nullptr;
    used_[found->first] = true;
    return usable_.contains(found->first) ? &found->second : nullptr;
  }

  void ReadTensor(const std::string& name, const DcpEntry& entry) {
    SavedTensor tensor{entry.path, entry.dtype, entry.shape, {}};
    for (const std::string& problem : TilingProblems(entry.shape, entry.chunks)) {
      complaints_.Problem(Quoted(name) + ": " + problem);
    }
    for (const Box& chunk : entry.chunks) {
      if (IsEmpty(chunk)) {
        used_[{name, chunk.offsets}] = true;
        continue;
      }
      SavedChunk saved{.box = chunk};
      const DcpPlace* place = Find(name, chunk.offsets, "its chunk " + BoxText(chunk));
      if (place) complaints_.Try([&] { ReadChunk(name, entry, *place, saved); });
      tensor.chunks.push_back(std::move(saved));
    }
    std::ranges::sort(tensor.chunks, {}, &SavedChunk::box);
    manifest_.tensors[name] = std::move(tensor);
    manifest_.order.push_back(name);
  }

  void ReadChunk(const std::string& name, const DcpEntry& entry, const DcpPlace& place, SavedChunk& saved) {
    const TensorItem item = ReadTensorItem(*opened_.at(place.file), place.range, Where(name, place));
    const auto fail = [&](const std::string& problem) {
      throw SemanticError("RuntimeError", Where(name, place) + ": " + problem);
    };
    if (item.dtype != entry.dtype) fail("is " + DtypeName(item.dtype) + ", the metadata say " + DtypeName(entry.dtype));
    if (item.sizes != saved.box.sizes) {
      fail("is " + BoxText(WholeBox(item.sizes)) + ", the metadata have " + BoxText(saved.box));
    }
    saved.file = place.file;
    saved.begin = item.storage.begin, saved.end = item.storage.end;
    saved.crc = item.storage.crc;
    const at::Tensor like = at::empty(item.sizes, at::TensorOptions().dtype(item.dtype).device(at::kMeta));
    const bool is_all = static_cast<int64_t>(like.nbytes()) == saved.end - saved.begin;
    if (!is_all || item.first != 0 || item.strides != like.strides().vec()) {
      saved.view = StoredView{item.first, item.strides};
    }
  }

  void ReadValue(const std::string& name, const DcpEntry& entry) {
    SavedValue saved{entry.path, {}};
    const DcpPlace* place = Find(name, std::nullopt, "its value");
    if (place) {
      const ReadableFile& file = *opened_.at(place->file);
      complaints_.Try([&] { saved.value = ReadValueItem(file, place->range, Where(name, *place)); });
    }
    manifest_.values[name] = std::move(saved);
    manifest_.order.push_back(name);
  }

  void NoteStrangers() {
    for (const auto& [index, place] : metadata_.places) {
      if (!used_.contains(index))
        complaints_.Note(Where(index.first, place) + ": no name of the checkpoint has this item");
    }
  }

  Files& files_;
  const std::string path_;
  Complaints& complaints_;
  DcpMetadata metadata_;
  Manifest manifest_;
  std::map<std::string, std::unique_ptr<ReadableFile>> opened_;  // nullptr: it could not be opened
  std::map<Index, bool> usable_, used_;
};

}  // namespace

Manifest ManifestOfDcp(Files& files, const std::string& path, Complaints& complaints) {
  return DcpReader(files, path, complaints).Read();
}

}  // namespace shardcts::reference
