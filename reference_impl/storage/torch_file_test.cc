#include "storage/torch_file.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "contract/compare.h"
#include "serialization/value_bytes.h"
#include "storage/convert.h"
#include "storage/one_rank.h"
#include "tensor/semantic_error.h"
#include "testing/temporary_folder.h"

namespace shardcts::reference {
namespace {

using testing::HasSubstr;

class TorchFileTest : public testing::Test {
 protected:
  std::string PathOf(const std::string& name) const { return (folder_.path() / name).string(); }
  std::string ErrorOf(const std::function<void()>& body) const {
    try {
      body();
      return "no error";
    } catch (const SemanticError& error) {
      return error.what();
    }
  }
  TemporaryFolder folder_;
};

TEST_F(TorchFileTest, WhatIsWrittenIsRead) {
  const at::Tensor matrix = at::arange(6, at::kDouble).reshape({2, 3});
  const Dict state{{"model", Dict{{"weight", matrix}, {"column", matrix.select(1, 1)}, {"ids", at::arange(3)}}},
                   {"list", List{1, 2.5, "text", true, Value()}},
                   {"empty", at::empty({0, 2})}};
  WriteTorchFile(Disk(), PathOf("a.pt"), state);
  EXPECT_EQ(Compare(state, ReadTorchFile(Disk(), PathOf("a.pt"))).Explain(), "");
}

TEST_F(TorchFileTest, EveryCutAndEveryChangedByteIsAnErrorOrAValue) {
  WriteTorchFile(Disk(), PathOf("g.pt"), {{"a", at::ones({2})}, {"b", List{1, "x"}}});
  const std::string bytes = ReadText(Disk(), PathOf("g.pt"), 1 << 20);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    for (const bool cut : {true, false}) {
      std::string changed = cut ? bytes.substr(0, i) : bytes;
      if (!cut) changed[i] = static_cast<char>(changed[i] ^ 0x55);
      const std::string path = PathOf((cut ? "cut" : "changed") + std::to_string(i));
      const std::unique_ptr<WritableFile> file = Disk().Create(path);
      file->Append(changed);
      file->Finish();
      const std::string error = ErrorOf([&] { ReadTorchFile(Disk(), path); });
      EXPECT_TRUE(!cut || error != "no error") << "cut at byte " << i;
    }
  }
}

TEST_F(TorchFileTest, WhatStateSerializeGivesIsRead) {
  const std::unique_ptr<WritableFile> file = Disk().Create(PathOf("own.pt"));
  file->Append(ToBytes(Dict{{"a", at::ones({2})}}, {}));
  file->Finish();
  EXPECT_EQ(Compare(Dict{{"a", at::ones({2})}}, ReadTorchFile(Disk(), PathOf("own.pt"))).Explain(), "");
}

TEST_F(TorchFileTest, WhatTheFileCannotHaveIsRefusedByName) {
  const auto write = [&] { WriteTorchFile(Disk(), PathOf("b.pt"), {{"a", Dict{{"raw", Bytes{"x"}}}}}); };
  EXPECT_THAT(ErrorOf(write), HasSubstr("\"a.raw\""));
}

TEST_F(TorchFileTest, ALoadChangesNothingUnlessAllFits) {
  WriteTorchFile(Disk(), PathOf("c.pt"), {{"a", at::ones({2})}, {"b", at::ones({3})}});
  OneRank alone(0);
  const at::Tensor first = at::zeros({2}), second = at::zeros({2});
  const auto load = [&] { LoadTorchFile(alone, Disk(), {{"a", first}, {"b", second}}, PathOf("c.pt")); };
  EXPECT_THAT(ErrorOf(load), HasSubstr("\"b\": the saved tensor is"));
  EXPECT_TRUE(at::equal(first, at::zeros({2})));
  LoadTorchFile(alone, Disk(), {{"a", first}}, PathOf("c.pt"));
  EXPECT_TRUE(at::equal(first, at::ones({2})));
}

TEST_F(TorchFileTest, CheckpointsBecomeFilesAndBack) {
  WriteTorchFile(Disk(), PathOf("d.pt"), {{"model", Dict{{"w", at::arange(4)}}}});
  ConvertCheckpoint(Disk(), 0, PathOf("d.pt"), PathOf("folder"), TargetFormat::kDefault);
  ConvertCheckpoint(Disk(), 0, PathOf("folder"), PathOf("again.pt"), TargetFormat::kTorchFile);
  EXPECT_EQ(Compare(Dict{{"model", Dict{{"w", at::arange(4)}}}}, ReadTorchFile(Disk(), PathOf("again.pt"))).Explain(),
            "");
  EXPECT_THAT(ErrorOf([&] { ConvertCheckpoint(Disk(), 0, PathOf("nothing"), PathOf("x"), TargetFormat::kDefault); }),
              HasSubstr("nothing"));
}

}  // namespace
}  // namespace shardcts::reference
