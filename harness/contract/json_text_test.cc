#include "contract/json_text.h"

#include <gtest/gtest.h>

namespace shardcts {
namespace {

TEST(JsonTextTest, IsWhatTheLibraryWrites) {
  const Json values = {nullptr,
                       true,
                       -3,
                       2.5,
                       1e300,
                       "",
                       "plain text ~",
                       "quote \" backslash \\ newline \n null " + std::string(1, '\0') + " delete \x7f",
                       "größer als 0 €",
                       Json::array(),
                       Json::object(),
                       Json::array({1, Json::array({2, "x"})}),
                       {{"key", "value"}, {"key \"2\"", Json::object({{"deep", nullptr}})}, {"ü", 1}}};
  for (const Json& value : values) {
    std::string text;
    AppendJson(value, text);
    EXPECT_EQ(text, value.dump());
  }
  std::string all;
  AppendJson(values, all);
  EXPECT_EQ(all, values.dump());
}

TEST(JsonTextTest, ReplacesWhatIsNoUtf8) {
  std::string text = ">";
  AppendJson(Json(std::string("a\xff") + "b"), text);
  EXPECT_EQ(text, ">\"a\xef\xbf\xbd" "b\"");
}

}  // namespace
}  // namespace shardcts
