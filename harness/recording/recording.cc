#include "recording/recording.h"

#include <fmt/format.h>

#include <fstream>
#include <set>

#include "recording/json_text.h"
#include "recording/rank_traces.h"
#include "recording/script_phases.h"
#include "recording/tensors_in.h"
#include "recording/zip_archive.h"
#include "run_files/input_error.h"
#include "run_files/json_file.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScriptName = "script.json";
constexpr const char* kBlobFolder = "blobs/";
constexpr size_t kMaxTextBytes = size_t{256} << 20;  // of a script in an archive, of a value in a blob

class ZipBlobs : public BlobSource {
 public:
  explicit ZipBlobs(std::unique_ptr<ZipReader> archive) : archive_(std::move(archive)) {}

 private:
  std::string FileName(const std::string& digest) const override {
    return fmt::format("{}: {}{}", archive_->file().string(), kBlobFolder, digest);
  }
  std::optional<std::string> Load(const std::string& digest, size_t most) const override {
    return archive_->Read(kBlobFolder + digest, most);
  }

  std::unique_ptr<ZipReader> archive_;
};

Recording ReadArchive(const fs::path& file) {
  auto archive = std::make_unique<ZipReader>(file);
  for (const auto& [name, size] : archive->entries()) {
    const bool is_blob = name.starts_with(kBlobFolder) && IsDigest(name.substr(std::string(kBlobFolder).size()));
    if (name != kScriptName && !is_blob) {
      throw InputError(fmt::format("{}: not a recording: an entry is called {}", file.string(),
                                   Json(name.substr(0, 100)).dump(-1, ' ', true, Json::error_handler_t::replace)));
    }
  }
  const std::optional<std::string> text = archive->Read(kScriptName, kMaxTextBytes);
  if (!text) throw InputError(fmt::format("{}: not a recording: it has no {}", file.string(), kScriptName));
  Json script = ParseJsonText(*text, fmt::format("{}: {}", file.string(), kScriptName));
  return {std::move(script), std::make_shared<ZipBlobs>(std::move(archive))};
}

void ExpandStep(Json& step, const BlobSource& blobs) {
  if (step.contains("args")) step["args"] = ExpandValue(std::move(step["args"]), blobs);
  if (step.contains("args_by_rank")) {
    for (Json& args : step["args_by_rank"]) args = ExpandValue(std::move(args), blobs);
  }
  for (Json& outcome : step.at("outcomes")) {
    if (outcome.is_object() && outcome.contains("value")) outcome["value"] = ExpandValue(std::move(outcome["value"]), blobs);
  }
}

bool IsArchive(const fs::path& file) {
  char begin[2] = {};
  std::ifstream(file, std::ios::binary).read(begin, sizeof begin);
  return begin[0] == 'P' && begin[1] == 'K';
}

}  // namespace

Recording ReadRecording(const fs::path& path) {
  const fs::path file = fs::absolute(path).lexically_normal();
  if (fs::is_directory(path)) {
    const fs::path folder = file.has_filename() ? file : file.parent_path();
    const fs::path run_folder = folder.parent_path().parent_path().parent_path();
    return {ReadRankTraces(path), std::make_shared<FolderBlobs>(run_folder / "blobs")};
  }
  if (IsArchive(path)) return ReadArchive(path);
  return {ReadJsonFile(path), std::make_shared<FolderBlobs>(file.parent_path() / "blobs")};
}

bool IsInBlob(const Json& value) { return value.is_object() && value.contains("$blob"); }

Json ExpandValue(Json value, const BlobSource& blobs) {
  if (!IsInBlob(value)) return value;
  const std::string digest = value["$blob"].get<std::string>();
  return ParseJsonText(blobs.Read(digest, kMaxTextBytes), "blob " + digest);
}

void ExportRecording(const fs::path& path, const fs::path& file) {
  Recording recording = ReadRecording(path);
  std::set<std::string> digests;
  try {
    for (Json* steps : StepLists(recording.script)) {
      for (Json& step : *steps) ExpandStep(step, *recording.blobs);
    }
    ForEachTensor(recording.script, [&](const Json& tensor) {
      if (tensor.contains("digest") && tensor.value("kept", true)) digests.insert(tensor.at("digest").get<std::string>());
    });
  } catch (const Json::exception& error) {
    throw InputError(path.string() + ": not a recording: " + error.what());
  }
  ZipWriter archive(file);
  archive.Add(kScriptName, recording.script.dump(1) + "\n");
  for (const std::string& digest : digests) archive.Add(kBlobFolder + digest, recording.blobs->Read(digest));
  archive.Close();
}

}  // namespace shardcts
