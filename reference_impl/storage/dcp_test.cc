#include "storage/dcp_checkpoint.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <random>

#include "storage/checkpoint.h"
#include "storage/dcp_metadata.h"
#include "storage/inspect_checkpoint.h"
#include "storage/pickle.h"
#include "storage/torch_item.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const fs::path kGolden = SHARDCTS_GOLDEN_FOLDER;

std::string ContentOfFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void WriteFileTo(const fs::path& path, const std::string& content) { std::ofstream(path, std::ios::binary) << content; }

// A copy of a golden checkpoint, to be damaged.
class DcpTest : public testing::Test {
 protected:
  DcpTest() : folder_(fs::temp_directory_path() / ("dcp_test_" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
    fs::create_directories(folder_.parent_path());
    fs::copy(kGolden / "dcp_2_13", folder_);
  }
  ~DcpTest() override { fs::remove_all(folder_); }

  // "" or what a read of everything ends with. Anything but a CheckpointException gets out.
  std::string Error() const {
    try {
      ReadCheckpoint(Disk(), folder_.string(), {});
      return "";
    } catch (const SemanticError& error) {
      EXPECT_EQ(error.kind(), "CheckpointException");
      return error.what();
    }
  }
  std::string ErrorWithMetadata(const std::string& bytes) const {
    WriteFileTo(folder_ / ".metadata", bytes);
    return Error();
  }
  DcpMetadata Metadata() const { return ReadDcpMetadata(ContentOfFile(kGolden / "dcp_2_13/.metadata"), "m"); }
  std::string ErrorWith(const DcpMetadata& metadata) const { return ErrorWithMetadata(ToPickle(metadata)); }

  const fs::path folder_;
};

void ExpectGolden(const Dict& read) {
  const Dict model = read.At("model").AsDict();
  EXPECT_TRUE(at::equal(model.At("rows").AsTensor(), at::arange(15, at::kFloat).reshape({5, 3})));
  EXPECT_TRUE(at::equal(model.At("transposed").AsTensor(), at::arange(6, at::kLong).reshape({2, 3}).t()));
  EXPECT_TRUE(at::equal(model.At("ids").AsTensor().to(at::kLong), at::arange(3, at::kLong)));
  EXPECT_EQ(model.At("ids").AsTensor().scalar_type(), at::kUInt16);
  EXPECT_EQ(model.At("number").AsTensor().item<double>(), 7.0);
  EXPECT_EQ(model.At("empty").AsTensor().sizes(), at::IntArrayRef({0, 3}));
  EXPECT_TRUE(at::equal(read.At("list").AsList().at(0).AsTensor(), at::ones({2}, at::kBFloat16)));
  EXPECT_EQ(read.At("list").AsList().at(1).AsInt(), 5);
  EXPECT_EQ(read.At("text").AsString(), "größe");
  EXPECT_EQ(*read.At("bytes").TryAs<Bytes>(), Bytes{std::string("\0\xff" "ab", 4)});
  EXPECT_EQ(ToString(read.At("values")), ToString(Value(List{1, 2.5, "x", true, nullptr, -(int64_t{1} << 40),
                                                            List{std::numeric_limits<double>::infinity()}})));
}

TEST_F(DcpTest, WhatPyTorchWroteIsRead) {
  for (const char* version : {"dcp_2_13", "dcp_2_15"}) {
    ExpectGolden(ReadCheckpoint(Disk(), (kGolden / version).string(), {}));
    const CheckpointReport report = InspectCheckpoint(Disk(), (kGolden / version).string(), true);
    EXPECT_THAT(report.problems, IsEmpty()) << version;
    EXPECT_THAT(report.notes, IsEmpty()) << version;
    EXPECT_EQ(report.manifest.tensors.at("model.rows").chunks.size(), 2u);
  }
}

TEST_F(DcpTest, MetadataAreReadAsTheyWereWritten) {
  EXPECT_EQ(ErrorWith(Metadata()), "");
  ExpectGolden(ReadCheckpoint(Disk(), folder_.string(), {}));
}

TEST_F(DcpTest, PlacesAreCheckedBeforeAnythingIsRead) {
  const auto with_place = [&](const std::function<void(DcpPlace&)>& change) {
    DcpMetadata metadata = Metadata();
    change(metadata.places.at({"model.rows", std::vector<int64_t>{3, 0}}));
    return ErrorWith(metadata);
  };
  EXPECT_THAT(with_place([](DcpPlace& place) { place.range.begin = -1; }), HasSubstr("impossible offset or length"));
  EXPECT_THAT(with_place([](DcpPlace& place) { place.range.end = place.range.begin - 1; }),
              HasSubstr("impossible offset"));
  EXPECT_THAT(with_place([](DcpPlace& place) { place.range.end += 1 << 20; }), HasSubstr("leave the file"));
  EXPECT_THAT(with_place([](DcpPlace& place) { place.range.end -= 1; }), HasSubstr("no archive of torch.save"));
  EXPECT_THAT(with_place([](DcpPlace& place) { place.file = "/etc/passwd"; }), HasSubstr("no plain path"));
  EXPECT_THAT(with_place([](DcpPlace& place) { place.file = "a/../../b"; }), HasSubstr("no plain path"));
  EXPECT_THAT(with_place([](DcpPlace& place) { place.file = "missing"; }), HasSubstr("missing: open"));
  EXPECT_THAT(with_place([&](DcpPlace& place) {
                place = Metadata().places.at({"model.rows", std::vector<int64_t>{0, 0}});
              }),
              HasSubstr("overlaps with the item of"));
}

TEST_F(DcpTest, ChunksAreChecked) {
  const auto with_entry = [&](const std::function<void(DcpEntry&)>& change) {
    DcpMetadata metadata = Metadata();
    change(metadata.entries.at("model.rows"));
    return ErrorWith(metadata);
  };
  EXPECT_THAT(with_entry([](DcpEntry& entry) { entry.shape = {6, 3}; }), HasSubstr("3 elements are in no chunk"));
  EXPECT_THAT(with_entry([](DcpEntry& entry) { entry.shape = {5}; }), HasSubstr("another number of dimensions"));
  EXPECT_THAT(with_entry([](DcpEntry& entry) { entry.shape[0] = int64_t{1} << 58; }), HasSubstr("are in no chunk"));
  EXPECT_THAT(with_entry([](DcpEntry& entry) {
                entry.shape = {int64_t{1} << 60, 16};
              }),
              HasSubstr("an impossible shape"));
  EXPECT_THAT(with_entry([](DcpEntry& entry) { entry.dtype = at::kInt; }),
              HasSubstr("is float32, the metadata say int32"));
  EXPECT_THAT(with_entry([](DcpEntry& entry) { entry.chunks[0].offsets = {1, 0}; }), HasSubstr("overlap"));
  EXPECT_THAT(with_entry([](DcpEntry& entry) { entry.is_tensor = false; }), HasSubstr("no file has its value"));
  EXPECT_THAT(with_entry([](DcpEntry& entry) {
                entry.shape = {int64_t{1} << 58, 3};
                entry.chunks = {{{0, 0}, entry.shape}};
              }),
              HasSubstr("the metadata have [0:288230376151711744, 0:3]"));
}

TEST_F(DcpTest, LinksAreNotFollowed) {
  fs::rename(folder_ / "__1_0.distcp", folder_ / "elsewhere");
  fs::create_symlink("elsewhere", folder_ / "__1_0.distcp");
  EXPECT_THAT(Error(), HasSubstr("__1_0.distcp: open"));
}

TEST_F(DcpTest, ChangedDataAreNoticed) {
  std::string data = ContentOfFile(folder_ / "__0_0.distcp");
  const float third = 3.0f;
  const size_t place = data.find(std::string(reinterpret_cast<const char*>(&third), sizeof third));
  ASSERT_NE(place, data.npos);
  data[place + 1] ^= 0x10;
  WriteFileTo(folder_ / "__0_0.distcp", data);
  EXPECT_THAT(Error(), HasSubstr("are not those that were saved"));
  EXPECT_THAT(InspectCheckpoint(Disk(), folder_.string(), true).problems, ElementsAre(HasSubstr("\"model.rows\"")));
  EXPECT_THAT(InspectCheckpoint(Disk(), folder_.string(), false).problems, IsEmpty());
}

TEST_F(DcpTest, EveryCutOfTheMetadataIsAnError) {
  const std::string whole = ContentOfFile(folder_ / ".metadata");
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_NE(ErrorWithMetadata(whole.substr(0, size)), "") << size;
}

TEST_F(DcpTest, ChangedFilesAreReadOrRefused) {
  std::minstd_rand random(4711);
  for (const char* name : {".metadata", "__0_0.distcp", "__1_0.distcp"}) {
    const std::string whole = ContentOfFile(folder_ / name);
    for (int i = 0; i < 1500; ++i) {
      std::string changed = whole;
      for (size_t changes = 1 + random() % 3; changes > 0; --changes) {
        changed[random() % changed.size()] = static_cast<char>(random() % 256);
      }
      WriteFileTo(folder_ / name, changed);
      Error();
      InspectCheckpoint(Disk(), folder_.string(), true);
    }
    WriteFileTo(folder_ / name, whole);
  }
}

constexpr std::string_view kNames[] = {"collections OrderedDict"};

std::string PickleError(const std::string& bytes) {
  try {
    const Pickle pickle(bytes, kNames, "p");
    return "";
  } catch (const SemanticError& error) {
    return error.what();
  }
}

TEST(PickleTest, OtherNamesAndOpcodesAreRefused) {
  EXPECT_THAT(PickleError("cposix\nsystem\n(Vtrue\ntR."), HasSubstr("names posix system, which no checkpoint needs"));
  EXPECT_THAT(PickleError("\x80\x02I1\n."), HasSubstr("opcode 0x49 is none of a checkpoint"));
  EXPECT_THAT(PickleError("\x80\x02"), HasSubstr("leaves the file"));
  EXPECT_THAT(PickleError("\x80\x09N."), HasSubstr("protocol 9"));
  EXPECT_THAT(PickleError("NN."), HasSubstr("other than one object"));
  EXPECT_THAT(PickleError("N.N"), HasSubstr("goes on behind its end"));
  EXPECT_THAT(PickleError("h\x01."), HasSubstr("the memo has no number 1"));
  EXPECT_THAT(PickleError("Nr\xff\xff\xff\xff."), HasSubstr("leaves numbers of the memo out"));
  EXPECT_THAT(PickleError("(N(\x85."), HasSubstr("stack is too short"));
  EXPECT_THAT(PickleError("a."), HasSubstr("the stack is too short"));
  EXPECT_THAT(PickleError("Na."), HasSubstr("the stack is empty"));
  EXPECT_THAT(PickleError("ccollections\nOrderedDict\n)R}b."), HasSubstr("gives a state to something that has none"));
  EXPECT_THAT(PickleError("\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01."), HasSubstr("beyond 2^63"));
  EXPECT_THAT(PickleError("X\x01\x00\x00"), HasSubstr("leaves the file"));
  EXPECT_THAT(PickleError(std::string("X\x01\x00\x00\x00\xff.", 7)), HasSubstr("not UTF-8"));
  EXPECT_EQ(PickleError(std::string(100'000, '(') + "N" + std::string(100'000, 't') + "."), "");
}

}  // namespace
}  // namespace shardcts::reference
