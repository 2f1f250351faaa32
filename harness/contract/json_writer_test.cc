#include "contract/json_writer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

namespace shardcts {
namespace {

using Json = nlohmann::ordered_json;

TEST(JsonWriterTest, WritesWhatTheLibraryWrites) {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  json.Key("scalars");
  json.BeginArray();
  json.Null();
  json.Bool(true);
  json.Bool(false);
  json.Int(-3);
  json.Int(std::numeric_limits<int64_t>::min());
  json.EndArray();
  json.Key("key \"2\"");
  json.BeginObject();
  json.EndObject();
  json.Key("ü");
  json.BeginArray();
  json.BeginArray();
  json.EndArray();
  json.BeginObject();
  json.Key("deep");
  json.Null();
  json.EndObject();
  json.EndArray();
  json.Key("ints");
  json.Ints({1, 2});
  json.Key("strings");
  json.Strings({"a", "b"});
  json.Key("data");
  json.Base64("abcd");
  json.EndObject();
  const Json expected = {{"scalars", {nullptr, true, false, -3, std::numeric_limits<int64_t>::min()}},
                         {"key \"2\"", Json::object()},
                         {"ü", {Json::array(), {{"deep", nullptr}}}},
                         {"ints", {1, 2}},
                         {"strings", {"a", "b"}},
                         {"data", "YWJjZA=="}};
  EXPECT_EQ(text, expected.dump());
}

TEST(JsonWriterTest, DoublesAreThoseOfTheLibrary) {
  for (const double value : {2.5, 2.0, -0.0, 0.1, 1e300, 1e-7, 5e-324, std::nan("")}) {
    std::string text;
    JsonWriter(text).Double(value);
    EXPECT_EQ(text, Json(value).dump());
  }
}

TEST(JsonWriterTest, StringsAreThoseOfTheLibrary) {
  for (const std::string value : {"", "plain text ~", "quote \" backslash \\ newline \n delete \x7f", "größer als 0 €"}) {
    std::string text;
    JsonWriter(text).String(value);
    EXPECT_EQ(text, Json(value).dump());
  }
  std::string text;
  JsonWriter(text).String(std::string(1, '\0'));
  EXPECT_EQ(text, "\"\\u0000\"");
}

TEST(JsonWriterTest, ReplacesWhatIsNoUtf8) {
  std::string text = ">";
  JsonWriter(text).String(std::string("a\xff") + "b");
  EXPECT_EQ(text, ">\"a\xef\xbf\xbd" "b\"");
}

}  // namespace
}  // namespace shardcts
