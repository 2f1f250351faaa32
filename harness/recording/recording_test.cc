#include "recording/recording.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "contract/compare.h"
#include "contract/tensor_bytes.h"
#include "recording/zip_archive.h"
#include "run_files/input_error.h"
#include "testing/temporary_folder.h"

namespace shardcts {
namespace {

using ::testing::HasSubstr;
namespace fs = std::filesystem;

// A run folder with one recorded test of one rank, whose only step gives a tensor.
class RecordingTest : public testing::Test {
 protected:
  RecordingTest() {
    fs::create_directories(test_);
    BlobStore store(blobs_);
    const EncodeOptions options{.largest_data = 0, .keep = [&store](const std::string& digest, std::string_view bytes) {
                                  store.Put(digest, bytes);
                                  return true;
                                }};
    const std::string value = Encode(Value(Dict{{"w", tensor_}}), options).dump();
    store.Put(Digest(value), value);
    const Json line = {{"step", 0},
                       {"op", "model.state_dict"},
                       {"args", {{"model", {{"$handle", "model:0"}}}}},
                       {"outcome", {{"value", {{"$blob", Digest(value)}, {"tensors", 1}}}}}};
    const Json header = {{"recording", 2}, {"contract", 1}, {"world_size", 1}, {"seed", 7}};
    std::ofstream(test_ / "rank-0.jsonl") << header.dump() << "\n" << line.dump() << "\n";
  }

  static Value Result(const Recording& recording) {
    const Json& outcome = recording.script.at("steps").at(0).at("outcomes").at(0);
    const Json value = ExpandValue(outcome.at("value"), *recording.blobs);
    return Decode(value, {.resolve = {}, .bytes = [&](const std::string& digest, size_t size) {
                            return recording.blobs->Read(digest, size);
                          }});
  }
  static std::string ErrorOf(const fs::path& path) {
    try {
      Result(ReadRecording(path));
    } catch (const InputError& error) {
      return error.what();
    }
    return "none";
  }
  // An archive whose script says the same of a tensor, but has it elsewhere.
  void WriteArchive(const std::map<std::string, std::string>& entries) const {
    ZipWriter archive(file_);
    for (const auto& [name, bytes] : entries) archive.Add(name, bytes);
    archive.Close();
  }
  std::string ScriptOf(int64_t elements, const std::string& digest) const {
    const Json tensor = {{"$tensor", {{"shape", {elements}}, {"dtype", "uint8"}, {"digest", digest}}}};
    return Json({{"recording", 2}, {"steps", {{{"outcomes", {{{"value", tensor}}}}}}}}).dump();
  }

  TemporaryFolder folder_;
  const at::Tensor tensor_ = at::arange(100, at::kFloat);
  const fs::path test_ = folder_.path() / "traces" / "impl" / "test";
  const fs::path blobs_ = folder_.path() / "blobs";
  const fs::path file_ = folder_.path() / "x.zip";
};

TEST_F(RecordingTest, FolderArchiveAndUnpackedArchiveGiveTheSame) {
  ExportRecording(test_, file_);
  const ZipReader archive(file_);
  for (const auto& [name, size] : archive.entries()) {
    fs::create_directories((folder_.path() / "unpacked" / name).parent_path());
    std::ofstream(folder_.path() / "unpacked" / name, std::ios::binary) << *archive.Read(name, size);
  }
  for (const fs::path& path : {test_, test_ / "", file_, folder_.path() / "unpacked" / "script.json"}) {
    const Comparison comparison = Compare(Value(Dict{{"w", tensor_}}), Result(ReadRecording(path)));
    EXPECT_TRUE(comparison.Equal()) << path << comparison.Explain();
    EXPECT_EQ(comparison.tensors, 1) << path;
  }
}

TEST_F(RecordingTest, DamagedBlobsAreNamed) {
  const std::string digest = Digest(TensorBytes(tensor_));
  std::ofstream(blobs_ / digest, std::ios::binary) << std::string(400, 'x');
  EXPECT_THAT(ErrorOf(test_), HasSubstr("blobs/" + digest + ": has other bytes"));
  EXPECT_THROW(ExportRecording(test_, file_), InputError);
  EXPECT_FALSE(fs::exists(file_));
  fs::remove(blobs_ / digest);
  EXPECT_THAT(ErrorOf(test_), HasSubstr("blobs/" + digest + ": cannot be read"));
}

TEST_F(RecordingTest, AnArchiveHasAScriptAndBlobsAndNothingElse) {
  WriteArchive({{"x", "y"}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("an entry is called \"x\""));
  WriteArchive({{"script.json", "{}"}, {"blobs/../../../etc/passwd", "y"}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("an entry is called \"blobs/../"));
  WriteArchive({{"blobs/" + std::string(32, 'a'), "y"}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("it has no script.json"));
  WriteArchive({{"script.json", std::string(300 << 20, ' ')}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("script.json: larger than "));
  WriteArchive({{"script.json", std::string(1000, '[')}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("script.json: nested more than 256 deep"));
}

TEST_F(RecordingTest, BlobsOfAnArchiveAreCheckedBeforeTheyAreUnpacked) {
  const std::string zeros(10 << 20, '\0');
  WriteArchive({{"script.json", ScriptOf(4, Digest(zeros))}, {"blobs/" + Digest(zeros), zeros}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("larger than 4 bytes"));
  WriteArchive({{"script.json", ScriptOf(4, Digest("text"))}, {"blobs/" + Digest("text"), "TEXT"}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("has other bytes than its digest says"));
  WriteArchive({{"script.json", ScriptOf(4, Digest("text"))}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("x.zip: blobs/" + Digest("text") + ": cannot be read"));
  WriteArchive({{"script.json", ScriptOf(4, "../../secret")}});
  EXPECT_THAT(ErrorOf(file_), HasSubstr("not a digest: \"../../secret\""));
}

}  // namespace
}  // namespace shardcts
