#include "storage/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "storage/untrusted_json.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

class TextFile final : public ReadableFile {
 public:
  explicit TextFile(std::string text) : text_(std::move(text)) {}
  int64_t size() const override { return static_cast<int64_t>(text_.size()); }
  void ReadAt(int64_t offset, std::span<char> buffer) const override {
    if (offset < 0 || static_cast<size_t>(offset) + buffer.size() > text_.size()) throw SemanticError("OSError", "f: end");
    std::memcpy(buffer.data(), text_.data() + offset, buffer.size());
  }

 private:
  std::string text_;
};

std::string ErrorOf(const std::string& text) {
  try {
    ReadSafetensorsHeader(TextFile(text), "f");
    return "no error";
  } catch (const SemanticError& error) {
    return error.what();
  }
}

std::string FileOf(const std::string& header, size_t data_bytes) {
  std::string text(8, '\0');
  for (size_t byte = 0; byte < 8; ++byte) text[byte] = static_cast<char>(header.size() >> (8 * byte) & 0xff);
  return text + header + std::string(data_bytes, '\0');
}

std::string Entry(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"t":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

std::string Example() {
  std::vector<FileChunk> chunks = {{"bytes", {{0}, {3}}, at::kByte}, {"rows", {{4, 0}, {2, 3}}, at::kFloat},
                                   {"number", {{}, {}}, at::kDouble}, {"none", {{0, 0}, {0, 2}}, at::kHalf}};
  const std::string header = LayOut(chunks);
  return header + std::string(static_cast<size_t>(chunks.back().end) - header.size(), 'x');
}

TEST(SafetensorsTest, AHeaderIsReadAsItWasLaidOut) {
  const std::string text = Example();
  const auto entries = ReadSafetensorsHeader(TextFile(text), "f");
  ASSERT_EQ(entries.size(), 4u);
  EXPECT_EQ(entries.at("rows").dtype, "F32");
  EXPECT_EQ(entries.at("rows").shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(entries.at("rows").saved_offsets, (std::vector<int64_t>{4, 0}));
  EXPECT_EQ(entries.at("rows").end - entries.at("rows").begin, 24);
  EXPECT_EQ(entries.at("number").begin % 8, 0) << "the widest elements come first";
  EXPECT_EQ(entries.at("bytes").end, static_cast<int64_t>(text.size()));
}

TEST(SafetensorsTest, WithoutANameOfTheDtypeBytesAreWritten) {
  std::vector<FileChunk> chunks = {{"wide", {{0}, {2}}, at::kComplexDouble}};
  const std::string header = LayOut(chunks);
  const auto entries = ReadSafetensorsHeader(TextFile(header + std::string(32, 'x')), "f");
  EXPECT_EQ(entries.at("wide").dtype, "U8");
  EXPECT_EQ(entries.at("wide").shape, (std::vector<int64_t>{2, 16}));
}

TEST(SafetensorsTest, EveryCutIsAnError) {
  const std::string whole = Example();
  EXPECT_EQ(ErrorOf(whole), "no error");
  for (size_t size = 0; size < whole.size(); ++size) EXPECT_THAT(ErrorOf(whole.substr(0, size)), StartsWith("f")) << size;
  EXPECT_THAT(ErrorOf(whole + "x"), HasSubstr("bytes of no tensor"));
}

// No byte, whatever it becomes, makes it do anything but read or complain.
TEST(SafetensorsTest, ChangedBytesAreReadOrRefused) {
  const std::string whole = Example();
  for (size_t i = 0; i < whole.size(); ++i) {
    for (unsigned char changed : {0x00, 0x22, 0x7f, 0xff}) {
      std::string text = whole;
      text[i] = static_cast<char>(changed);
      EXPECT_THAT(ErrorOf(text), AnyOf("no error", StartsWith("f"))) << i;
    }
  }
}

TEST(SafetensorsTest, HostileNumbersAreRefused) {
  EXPECT_EQ(ErrorOf(FileOf(Entry("F32", "[2]", "[0,8]"), 8)), "no error");
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[-2]", "[0,8]"), 8)), HasSubstr("a shape that no file can hold"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[4611686018427387904,4]", "[0,8]"), 8)), HasSubstr("no file can hold"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[2]", "[-8,0]"), 8)), HasSubstr("lies outside the file"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[2]", "[8,16]"), 8)), HasSubstr("lies outside the file"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[2]", "[0,18446744073709551615]"), 8)), HasSubstr("beyond 2^63"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[2]", "[8,0]"), 8)), HasSubstr("lies outside the file"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[3]", "[0,8]"), 8)), HasSubstr("shape and dtype need 12"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F99", "[2]", "[0,8]"), 8)), HasSubstr("unknown dtype"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "[1.5]", "[0,8]"), 8)), HasSubstr("expected an integer"));
  EXPECT_THAT(ErrorOf(FileOf(Entry("F32", "2", "[0,8]"), 8)), HasSubstr("expected a list"));
  EXPECT_THAT(ErrorOf(std::string(8, '\xff') + "{}"), HasSubstr("leaves the file"));
}

TEST(SafetensorsTest, TwoOfANameDeepJsonAndOverlapsAreRefused) {
  EXPECT_THAT(ErrorOf(FileOf(R"({"a":{},"a":{}})", 0)), HasSubstr("has the key \"a\" twice"));
  EXPECT_THAT(ErrorOf(FileOf(std::string(100'000, '['), 0)), HasSubstr("nested more than 100 deep"));
  const std::string same = R"("dtype":"U8","shape":[4],"data_offsets":[0,4]})";
  EXPECT_THAT(ErrorOf(FileOf("{\"a\":{" + same + ",\"b\":{" + same + "}", 4)), HasSubstr("two tensors overlap"));
  EXPECT_THAT(ErrorOf(FileOf("{\"a\":{" + same + "}", 8)), HasSubstr("bytes of no tensor"));
}

TEST(SafetensorsTest, ShardingInfoIsChecked) {
  const auto with = [](const std::string& info) {
    return FileOf(R"({"__metadata__":{"DCP_SHARDING_INFO":")" + info + R"("},"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})", 4);
  };
  EXPECT_EQ(ErrorOf(with(R"({\"t\":{\"saved_offsets\":[3]}})")), "no error");
  EXPECT_THAT(ErrorOf(with(R"({\"t\":{\"saved_offsets\":[3,1]}})")), HasSubstr("one number for each dimension"));
  EXPECT_THAT(ErrorOf(with(R"({\"t\":{\"saved_offsets\":[-1]}})")), HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf(with(R"({\"t\":{\"saved_offsets\":[9223372036854775807]}})")), HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf(with("no json")), HasSubstr("is no JSON"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"__metadata__":{"DCP_SHARDING_INFO":3}})", 0)), HasSubstr("expected a text"));
}

TEST(SafetensorsTest, ReservedAndForeignNamesAreNotWritten) {
  const auto error_of = [](const std::string& name) -> std::string {
    std::vector<FileChunk> chunks = {{name, {{0}, {3}}, at::kByte}};
    try {
      LayOut(chunks);
      return "no error";
    } catch (const SemanticError& error) {
      return error.what();
    }
  };
  EXPECT_THAT(error_of("__metadata__"), HasSubstr("the format's own"));
  EXPECT_THAT(error_of("\xff"), HasSubstr("not UTF-8"));
  EXPECT_EQ(error_of("größe\n\"\\"), "no error");
}

}  // namespace
}  // namespace shardcts::reference
