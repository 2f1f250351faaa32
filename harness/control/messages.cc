#include "control/messages.h"

#include <bit>
#include <cstring>

namespace shardcts {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kHeaderBytes = sizeof(uint32_t);
constexpr int64_t kMaxRanks = 1 << 16;

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  template <class M>
    requires requires(M& m) { M::Fields(m); }
  void operator()(const M& message) {
    std::apply([this](const auto&... field) { ((*this)(field), ...); }, M::Fields(message));
  }
  void operator()(int64_t number) { out_.append(reinterpret_cast<const char*>(&number), sizeof number); }
  void operator()(Together what) { (*this)(static_cast<int64_t>(what)); }
  void operator()(const std::string& text) {
    (*this)(static_cast<int64_t>(text.size()));
    out_ += text;
  }
  void operator()(const std::vector<int64_t>& numbers) {
    (*this)(static_cast<int64_t>(numbers.size()));
    for (const int64_t number : numbers) (*this)(number);
  }

 private:
  std::string& out_;
};

class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  template <class M>
    requires requires(M& m) { M::Fields(m); }
  void operator()(M& message) {
    std::apply([this](auto&... field) { ((*this)(field), ...); }, M::Fields(message));
  }
  void operator()(int64_t& number) {
    std::memcpy(&number, Take(sizeof number).data(), sizeof number);
  }
  void operator()(Together& what) {
    int64_t number = 0;
    (*this)(number);
    if (number < static_cast<int64_t>(Together::kOperation) || number > static_cast<int64_t>(Together::kRendezvous)) {
      throw ProtocolViolation("an exchange of kind " + std::to_string(number));
    }
    what = static_cast<Together>(number);
  }
  void operator()(std::string& text) { text = Take(Count(static_cast<int64_t>(in_.size()))); }
  void operator()(std::vector<int64_t>& numbers) {
    numbers.resize(static_cast<size_t>(Count(kMaxRanks)));
    for (int64_t& number : numbers) (*this)(number);
  }
  void ExpectEnd() const {
    if (!in_.empty()) throw ProtocolViolation(std::to_string(in_.size()) + " bytes too many in a message");
  }

 private:
  int64_t Count(int64_t most) {
    int64_t count = 0;
    (*this)(count);
    if (count < 0 || count > most) throw ProtocolViolation("a length of " + std::to_string(count));
    return count;
  }
  std::string_view Take(int64_t count) {
    if (static_cast<size_t>(count) > in_.size()) throw ProtocolViolation("a message that ends too early");
    const std::string_view taken = in_.substr(0, static_cast<size_t>(count));
    in_.remove_prefix(taken.size());
    return taken;
  }

  std::string_view in_;
};

template <size_t kIndex = 0>
Message Decode(size_t type, Reader& reader) {
  if constexpr (kIndex < std::variant_size_v<Message>) {
    if (type != kIndex) return Decode<kIndex + 1>(type, reader);
    std::variant_alternative_t<kIndex, Message> message;
    reader(message);
    reader.ExpectEnd();
    return message;
  }
  throw ProtocolViolation("a message of type " + std::to_string(type));
}

}  // namespace

std::string ToFrame(const Message& message) {
  std::string frame(kHeaderBytes, '\0');
  frame += static_cast<char>(message.index());
  Writer writer(frame);
  std::visit([&](const auto& fields) { writer(fields); }, message);
  const size_t bytes = frame.size() - kHeaderBytes;
  if (bytes > kMaxFrameBytes) {
    throw ProtocolViolation("a message of " + std::to_string(bytes) + " bytes, allowed are " +
                            std::to_string(kMaxFrameBytes));
  }
  const auto length = static_cast<uint32_t>(bytes);
  std::memcpy(frame.data(), &length, sizeof length);
  return frame;
}

std::optional<Message> FrameReader::Next(uint32_t max_bytes) {
  const std::string_view rest = std::string_view(buffer_).substr(begin_);
  uint32_t length = 0;
  if (rest.size() < kHeaderBytes) return std::nullopt;
  std::memcpy(&length, rest.data(), sizeof length);
  if (length == 0 || length > max_bytes) throw ProtocolViolation("a frame of " + std::to_string(length) + " bytes");
  if (rest.size() < kHeaderBytes + length) return std::nullopt;
  Reader reader(rest.substr(kHeaderBytes + 1, length - 1));
  Message message = Decode(static_cast<unsigned char>(rest[kHeaderBytes]), reader);
  begin_ += kHeaderBytes + length;
  if (begin_ == buffer_.size() || begin_ > (size_t{1} << 20)) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  return message;
}

}  // namespace shardcts
