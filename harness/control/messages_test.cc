#include "control/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace shardcts {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

Message Single(const std::string& frame, uint32_t max_bytes = kMaxFrameBytes) {
  FrameReader reader;
  reader.Append(frame.data(), frame.size());
  std::optional<Message> message = reader.Next(max_bytes);
  EXPECT_TRUE(message.has_value());
  EXPECT_TRUE(reader.empty());
  return message.value_or(Farewell{});
}

// As written down in messages.h: length, type, fields.
std::string Raw(char type, const std::string& fields) {
  const auto length = static_cast<uint32_t>(fields.size() + 1);
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + type + fields;
}
std::string Number(int64_t number) { return {reinterpret_cast<const char*>(&number), sizeof number}; }

constexpr char kHello = 0, kExchange = 1, kStopNotice = 4;

std::string ErrorOf(const std::string& frame) {
  FrameReader reader;
  reader.Append(frame.data(), frame.size());
  try {
    reader.Next(kMaxFrameBytes);
  } catch (const ProtocolViolation& violation) {
    return violation.what();
  }
  return "none";
}

TEST(MessagesTest, BytesAreThoseOfTheFormat) {
  EXPECT_EQ(ToFrame(StopNotice{7}), Raw(kStopNotice, Number(7)));
  EXPECT_EQ(ToFrame(Hello{"ab", -1, 5, ""}), Raw(kHello, Number(2) + "ab" + Number(-1) + Number(5) + Number(0)));
  EXPECT_EQ(ToFrame(Exchange{{0, 2}, {Together::kEnd, "", 0, "x"}}),
            Raw(kExchange, Number(2) + Number(0) + Number(2) + Number(2) + Number(0) + Number(0) + Number(1) + "x"));
}

TEST(MessagesTest, ComeBackAsTheyWere) {
  const std::string bytes("\0\xff\n", 3);
  const auto exchange = std::get<Exchange>(Single(ToFrame(Exchange{{1, 5}, {Together::kAllGather, "op", 3, bytes}})));
  EXPECT_THAT(exchange.ranks, testing::ElementsAre(1, 5));
  EXPECT_EQ(exchange.mine.what, Together::kAllGather);
  EXPECT_EQ(exchange.mine.operation, "op");
  EXPECT_EQ(exchange.mine.step, 3);
  EXPECT_EQ(exchange.mine.bytes, bytes);
  const auto gone = std::get<PeerGone>(Single(ToFrame(PeerGone{4, "killed"})));
  EXPECT_EQ(gone.rank, 4);
  EXPECT_EQ(gone.how, "killed");
  EXPECT_TRUE(std::holds_alternative<Farewell>(Single(ToFrame(Farewell{}))));
}

TEST(MessagesTest, MayComeByteByByteAndSeveralAtOnce) {
  const std::string two = ToFrame(StopNotice{1}) + ToFrame(StopNotice{2});
  FrameReader reader;
  std::vector<int64_t> tests;
  for (const char byte : two) {
    reader.Append(&byte, 1);
    while (const auto message = reader.Next(kMaxFrameBytes)) tests.push_back(std::get<StopNotice>(*message).test);
  }
  EXPECT_THAT(tests, testing::ElementsAre(1, 2));
}

TEST(MessagesTest, GarbageIsAViolationThatSaysWhat) {
  EXPECT_EQ(ErrorOf("GET / HTTP/1.1\r\n"), "a frame of 542393671 bytes");
  EXPECT_EQ(ErrorOf(std::string(4, '\0')), "a frame of 0 bytes");
  EXPECT_EQ(ErrorOf(Raw(99, "")), "a message of type 99");
  EXPECT_EQ(ErrorOf(Raw(kStopNotice, "abc")), "a message that ends too early");
  EXPECT_EQ(ErrorOf(Raw(kStopNotice, Number(1) + "abc")), "3 bytes too many in a message");
  EXPECT_EQ(ErrorOf(Raw(kHello, Number(1 << 30))), "a length of 1073741824");
  EXPECT_EQ(ErrorOf(Raw(kHello, Number(-1))), "a length of -1");
  EXPECT_EQ(ErrorOf(Raw(kExchange, Number(0) + Number(17))), "an exchange of kind 17");
}

TEST(MessagesTest, SizesAreLimited) {
  FrameReader reader;
  const std::string frame = ToFrame(Hello{std::string(5000, 'x'), 0, 0, ""});
  reader.Append(frame.data(), frame.size());
  EXPECT_THROW(reader.Next(kMaxHelloBytes), ProtocolViolation);
  EXPECT_THROW(ToFrame(Exchange{{}, {Together::kAllGather, "", 0, std::string(kMaxFrameBytes, 'x')}}),
               ProtocolViolation);
}

}  // namespace
}  // namespace shardcts
