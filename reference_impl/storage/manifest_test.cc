#include "storage/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include <limits>

#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

using testing::AnyOf;
using testing::HasSubstr;
using testing::StartsWith;

Manifest ManifestExample() {
  Manifest manifest{.folder = "save-0123456789abcdef", .files = {{"a.safetensors", 100}}, .order = {"w.b", "step"}};
  manifest.tensors["w.b"] = {{{"w"}, {"b"}}, at::kFloat, {5}, {{{{0}, {3}}, "a.safetensors", 8, 20, "d1"},
                                                              {{{3}, {2}}, "a.safetensors", 20, 28, "d2"}}};
  manifest.values["step"] = {{{"step"}}, List{1, 2.5, "text", true, nullptr, Bytes{std::string("\0\xff", 2)},
                                              std::numeric_limits<double>::infinity()}};
  return manifest;
}

std::string ManifestErrorOf(const std::string& text) {
  try {
    ManifestFrom(text, "m");
    return "no error";
  } catch (const SemanticError& error) {
    return error.what();
  }
}

// The example with the value at a JSON pointer replaced.
std::string ErrorWith(const char* pointer, const nlohmann::json& value) {
  nlohmann::json json = nlohmann::json::parse(ToText(ManifestExample()));
  json[nlohmann::json::json_pointer(pointer)] = value;
  return ManifestErrorOf(json.dump());
}

TEST(ManifestTest, IsReadAsItWasWritten) {
  const Manifest given = ManifestExample(), read = ManifestFrom(ToText(given), "m");
  EXPECT_EQ(ToText(read), ToText(given));
  EXPECT_EQ(ToString(read.values.at("step").value), ToString(given.values.at("step").value));
  EXPECT_EQ(read.tensors.at("w.b").path, given.tensors.at("w.b").path);
}

TEST(ManifestTest, IntKeysAndIndicesStayApart) {
  Manifest manifest = ManifestExample();
  manifest.values["step"].path = {{"a"}, {int64_t{3}, false}, {int64_t{4}, true}};
  EXPECT_EQ(ManifestFrom(ToText(manifest), "m").values.at("step").path, manifest.values.at("step").path);
}

TEST(ManifestTest, EveryCutIsAnError) {
  const std::string whole = ToText(ManifestExample());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_THAT(ManifestErrorOf(whole.substr(0, size)), StartsWith("m")) << size;
  }
}

TEST(ManifestTest, ChangedBytesAreReadOrRefused) {
  const std::string whole = ToText(ManifestExample());
  for (size_t i = 0; i < whole.size(); ++i) {
    for (char changed : {'\0', '"', '9', '-', '[', '\xff'}) {
      std::string text = whole;
      text[i] = changed;
      EXPECT_THAT(ManifestErrorOf(text), AnyOf("no error", StartsWith("m"))) << i << changed;
    }
  }
}

TEST(ManifestTest, AChangedValueIsNoticedAndATextWithoutDigestIsRead) {
  const std::string whole = ToText(ManifestExample());
  std::string changed = whole;
  changed[changed.find("2.5")] = '3';
  EXPECT_THAT(ManifestErrorOf(changed), HasSubstr("another digest"));
  const std::string older = whole.substr(0, whole.rfind(",\"digest\":")) + "}";
  EXPECT_EQ(ManifestErrorOf(older), "no error");
}

TEST(ManifestTest, NamesNeverLeaveTheFolder) {
  for (const char* name : {"/etc", "..", "save-0123456789abcde", "save-0123456789ABCDEF", "save-0123456789abcdef/..", ""}) {
    EXPECT_THAT(ErrorWith("/folder", name), HasSubstr("no folder of a save")) << name;
  }
  for (const char* name : {"/etc/passwd", "../a", ".", "..", ".hidden", "a/b", ""}) {
    nlohmann::json files;
    files[name] = 100;
    EXPECT_THAT(ErrorWith("/files", files), HasSubstr("no plain name")) << name;
  }
}

TEST(ManifestTest, HostileNumbersAreRefused) {
  EXPECT_THAT(ErrorWith("/tensors/w.b/shape/0", -5), HasSubstr("an impossible shape"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/shape", {1099511627776, 1099511627776}), HasSubstr("an impossible shape"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/shape", {0, 1099511627776, 1099511627776}), HasSubstr("an impossible shape"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/shape/0", 6), HasSubstr("1 elements are in no chunk"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/chunks/1/offsets/0", 2), HasSubstr("overlap"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/chunks/1/offsets/0", INT64_MAX), HasSubstr("leaves the tensor"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/chunks/1/bytes/1", 101), HasSubstr("leaves its file"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/chunks/1/bytes/0", -1), HasSubstr("leaves its file"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/chunks/1/bytes/0", 19), HasSubstr("another size in its file"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/chunks/1/file", "b"), HasSubstr("not among the checkpoint's"));
  EXPECT_THAT(ErrorWith("/tensors/w.b/dtype", "float9"), HasSubstr("unknown dtype"));
  EXPECT_THAT(ErrorWith("/files/a.safetensors", -1), HasSubstr("a negative size"));
}

TEST(ManifestTest, OtherFormatsAndVersionsSaySo) {
  EXPECT_THAT(ErrorWith("/version", 2), HasSubstr("has version 2, version 1 is known"));
  EXPECT_THAT(ErrorWith("/format", "other"), HasSubstr("no manifest of a checkpoint"));
  EXPECT_THAT(ErrorWith("/order", {"w.b"}), HasSubstr("other names"));
  EXPECT_THAT(ErrorWith("/order", {"w.b", "w.b", "step"}), HasSubstr("other names"));
  EXPECT_THAT(ErrorWith("/values/step/path", nlohmann::json::array()), HasSubstr("no path from a dict"));
  EXPECT_THAT(ErrorWith("/values/step/value", {{"$handle", "model:1"}}), AnyOf(HasSubstr("no plain value"), HasSubstr("m: ")));
}

TEST(ManifestTest, SaveFoldersAreRecognized) {
  EXPECT_TRUE(IsSaveFolder("save-0123456789abcdef"));
  EXPECT_FALSE(IsSaveFolder("save-0123456789abcdeg"));
  EXPECT_FALSE(IsSaveFolder("saved0123456789abcdef"));
}

TEST(ManifestTest, DigestsOfLongChunksAreThoseOfTheirBlocks) {
  const std::string block(static_cast<size_t>(kDigestBlock), 'x');
  EXPECT_NE(ChunkDigest(block), ChunkDigest(block + "x"));
  EXPECT_NE(ChunkDigest(block + "x"), ChunkDigest(block + "y"));
}

}  // namespace
}  // namespace shardcts::reference
