#include "storage/fuzz/fuzz_targets.h"

#include <cstring>

#include "storage/dcp_metadata.h"
#include "storage/manifest.h"
#include "storage/safetensors.h"
#include "storage/torch_item.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

class FuzzedFile final : public ReadableFile {
 public:
  explicit FuzzedFile(const std::string& bytes) : bytes_(bytes) {}
  int64_t size() const override { return static_cast<int64_t>(bytes_.size()); }
  void ReadAt(int64_t offset, std::span<char> buffer) const override {
    if (offset < 0 || buffer.size() > bytes_.size() || static_cast<size_t>(offset) > bytes_.size() - buffer.size()) {
      throw SemanticError("OSError", "the file ends");
    }
    std::memcpy(buffer.data(), bytes_.data() + offset, buffer.size());
  }

 private:
  const std::string& bytes_;
};

template <class Read>
void Tolerating(const Read& read) {
  try {
    read();
  } catch (const SemanticError&) {
  }
}

// What has been read is written and read again: it must be the same.
void ReadMetadata(const std::string& bytes) {
  Tolerating([&] {
    const std::string written = ToPickle(ReadDcpMetadata(bytes, "f"));
    if (ToPickle(ReadDcpMetadata(written, "g")) != written) __builtin_trap();
  });
}

void ReadTensor(const std::string& bytes) {
  const FuzzedFile file(bytes);
  Tolerating([&] {
    const TensorItem item = ReadTensorItem(file, {0, file.size()}, "f");
    if (item.storage.begin < 0 || item.storage.end > file.size()) __builtin_trap();
  });
}

void ReadValue(const std::string& bytes) {
  const FuzzedFile file(bytes);
  Tolerating([&] { ReadValueItem(file, {0, file.size()}, "f"); });
  Tolerating([&] { ReadStateItem(file, {0, file.size()}, "f"); });
}

void ReadSafetensors(const std::string& bytes) {
  Tolerating([&] { ReadSafetensorsHeader(FuzzedFile(bytes), "f"); });
}

void ReadOwnManifest(const std::string& bytes) {
  Tolerating([&] {
    const std::string written = ToText(ManifestFrom(bytes, "f"));
    if (ToText(ManifestFrom(written, "g")) != written) __builtin_trap();
  });
}

}  // namespace

const std::array<FuzzTarget, 5> kFuzzTargets = {
    FuzzTarget{"metadata", ReadMetadata}, FuzzTarget{"tensor", ReadTensor}, FuzzTarget{"value", ReadValue},
    FuzzTarget{"safetensors", ReadSafetensors}, FuzzTarget{"manifest", ReadOwnManifest}};

}  // namespace shardcts::reference
