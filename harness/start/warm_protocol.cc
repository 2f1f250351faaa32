#include "start/warm_protocol.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

extern char** environ;

namespace shardcts {
namespace {

constexpr size_t kMostDescriptors = 253;        // the kernel's SCM_MAX_FD
constexpr uint32_t kLongestMessage = 8u << 20;  // bytes
constexpr size_t kMostTexts = 100'000;

[[noreturn]] void Fail(const std::string& what) { throw std::runtime_error(what + ": " + std::strerror(errno)); }

std::vector<std::string> LinesOf(const std::string& file) {
  std::ifstream stream(file);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string LinkTarget(const std::string& link) {
  std::error_code error;
  return std::filesystem::read_symlink(link, error).string();
}

// A mask of /proc/self/status, "SigIgn:\t0000000000001000".
uint64_t SignalMask(const std::string& name) {
  for (const std::string& line : LinesOf("/proc/self/status")) {
    if (line.starts_with(name)) return std::stoull(line.substr(name.size()), nullptr, 16);
  }
  return 0;
}

std::pair<sockaddr_un, socklen_t> AbstractAddress(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() > sizeof(address.sun_path) - 1) {
    throw std::runtime_error("'" + name + "' is not the name of a socket");
  }
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())};
}

Descriptor NewSocket() {
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.number() < 0) Fail("socket");
  return socket;
}

void SendBytes(int socket, const char* bytes, size_t count) {
  while (count > 0) {
    const ssize_t sent = ::send(socket, bytes, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) Fail("the connection failed");
    bytes += sent;
    count -= static_cast<size_t>(sent);
  }
}

// False when the connection was closed before the first byte.
bool ReceiveBytes(int socket, char* bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    const ssize_t got = ::recv(socket, bytes + done, count - done, 0);
    if (got < 0 && errno == EINTR) continue;
    const bool closed = got == 0 || (got < 0 && errno == ECONNRESET);
    if (closed && done == 0) return false;
    if (closed) throw std::runtime_error("the connection ended in the middle of a message");
    if (got < 0) Fail("the connection failed");
    done += static_cast<size_t>(got);
  }
  return true;
}

uint32_t LengthOf(const std::string& payload) {
  if (payload.size() > kLongestMessage) throw std::runtime_error("a message of more than 8 MiB");
  return static_cast<uint32_t>(payload.size());
}

std::string ReceivePayload(int socket, uint32_t length) {
  if (length > kLongestMessage) throw std::runtime_error("a message of more than 8 MiB");
  std::string payload(length, '\0');
  if (length > 0 && !ReceiveBytes(socket, payload.data(), length)) {
    throw std::runtime_error("the connection ended in the middle of a message");
  }
  return payload;
}

// A payload is a row of lists: each is the number of its texts, then the texts, all ended by NUL.
void AddList(std::string& payload, const std::vector<std::string>& texts) {
  payload += std::to_string(texts.size()) + '\0';
  for (const std::string& text : texts) payload += text + '\0';
}

class PayloadReader {
 public:
  explicit PayloadReader(const std::string& payload) : payload_(payload) {}

  std::vector<std::string> List() {
    const uint64_t count = ToNumber(Text());
    if (count > kMostTexts) throw std::runtime_error("a request with too many texts");
    std::vector<std::string> texts;
    for (uint64_t i = 0; i < count; ++i) texts.push_back(Text());
    return texts;
  }

  static uint64_t ToNumber(const std::string& text) {
    uint64_t number = 0;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, number);
    if (error != std::errc() || end != last) throw std::runtime_error("a request with '" + text + "' for a number");
    return number;
  }

 private:
  std::string Text() {
    const size_t end = payload_.find('\0', place_);
    if (end == payload_.npos) throw std::runtime_error("a request that ends too early");
    const size_t begin = std::exchange(place_, end + 1);
    return payload_.substr(begin, end - begin);
  }

  const std::string& payload_;
  size_t place_ = 0;
};

std::string Encode(const WarmRequest& request) {
  std::string payload;
  AddList(payload, request.words);
  AddList(payload, request.environment);
  AddList(payload, request.place);
  AddList(payload, {std::to_string(request.ignored_signals), std::to_string(request.blocked_signals)});
  std::vector<std::string> numbers;
  for (int number : request.descriptors) numbers.push_back(std::to_string(number));
  AddList(payload, numbers);
  return payload;
}

WarmRequest Decode(const std::string& payload) {
  PayloadReader reader(payload);
  WarmRequest request;
  request.words = reader.List();
  request.environment = reader.List();
  request.place = reader.List();
  const std::vector<std::string> signals = reader.List();
  if (request.words.empty() || signals.size() != 2) throw std::runtime_error("a request that is not whole");
  request.ignored_signals = PayloadReader::ToNumber(signals[0]);
  request.blocked_signals = PayloadReader::ToNumber(signals[1]);
  for (const std::string& text : reader.List()) {
    const uint64_t number = PayloadReader::ToNumber(text);
    if (number > 1'000'000) throw std::runtime_error("a request with the descriptor " + text);
    request.descriptors.push_back(static_cast<int>(number));
  }
  return request;
}

// The message's first four bytes, its length, carry the descriptors.
uint32_t ReceiveLength(int socket, std::vector<Descriptor>& descriptors) {
  uint32_t length = 0;
  iovec bytes{&length, sizeof(length)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostDescriptors)> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL);
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); got > 0 && part != nullptr; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t offset = 0; offset + sizeof(int) <= part->cmsg_len - CMSG_LEN(0); offset += sizeof(int)) {
      int number = -1;
      std::memcpy(&number, CMSG_DATA(part) + offset, sizeof(number));
      descriptors.emplace_back(number);
    }
  }
  if (got < 0) Fail("the connection failed");
  if (got != sizeof(length) || (message.msg_flags & MSG_CTRUNC) != 0) {
    throw std::runtime_error("a message without length, or with descriptors that did not come through");
  }
  return length;
}

std::vector<int> OpenDescriptors(int but) {
  std::vector<int> numbers;
  DIR* folder = ::opendir("/proc/self/fd");
  if (folder == nullptr) Fail("/proc/self/fd");
  while (const dirent* entry = ::readdir(folder)) {
    int number = -1;
    const char* last = entry->d_name + std::strlen(entry->d_name);
    const bool is_number = std::from_chars(entry->d_name, last, number).ptr == last;
    if (is_number && number != but && number != ::dirfd(folder)) numbers.push_back(number);
  }
  ::closedir(folder);
  return numbers;
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

std::vector<std::string> DescribePlace() {
  std::vector<std::string> place;
  for (const char* name : {"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}) {
    place.push_back(std::string(name) + " namespace " + LinkTarget(std::string("/proc/self/ns/") + name));
  }
  place.push_back("current folder " + LinkTarget("/proc/self/cwd"));
  place.push_back("root folder " + LinkTarget("/proc/self/root"));
  place.push_back("niceness " + std::to_string(::getpriority(PRIO_PROCESS, 0)));
  for (const std::string& line : LinesOf("/proc/self/cgroup")) place.push_back("cgroup " + line);
  for (const std::string& line : LinesOf("/proc/self/limits")) place.push_back("limit " + line);
  for (const std::string& line : LinesOf("/proc/self/status")) {
    for (const char* name : {"Umask:", "Uid:", "Gid:", "Groups:", "CapEff:", "NoNewPrivs:", "Seccomp:",
                             "Cpus_allowed_list:", "Mems_allowed_list:"}) {
      if (line.starts_with(name)) place.push_back(line);
    }
  }
  return place;
}

WarmRequest RequestOfThisProcess(std::vector<std::string> words, int socket) {
  WarmRequest request;
  request.words = std::move(words);
  for (char** entry = environ; *entry != nullptr; ++entry) request.environment.emplace_back(*entry);
  request.place = DescribePlace();
  request.ignored_signals = SignalMask("SigIgn:");
  request.blocked_signals = SignalMask("SigBlk:");
  request.descriptors = OpenDescriptors(socket);
  return request;
}

Descriptor Connect(const std::string& name, std::chrono::milliseconds patience) {
  Descriptor socket = NewSocket();
  SetPatience(socket.number(), patience);
  const auto [address, length] = AbstractAddress(name);
  if (::connect(socket.number(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    Fail("no warm process answers here");
  }
  if (!PeerIsThisUser(socket.number())) throw std::runtime_error("the warm process belongs to another user");
  return socket;
}

Descriptor Listen(const std::string& name) {
  Descriptor socket = NewSocket();
  const auto [address, length] = AbstractAddress(name);
  if (::bind(socket.number(), reinterpret_cast<const sockaddr*>(&address), length) != 0) Fail("socket " + name);
  if (::listen(socket.number(), SOMAXCONN) != 0) Fail("socket " + name);
  return socket;
}

void SetPatience(int socket, std::chrono::milliseconds patience) {
  const timeval limit{patience.count() / 1000, patience.count() % 1000 * 1000};
  ::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  ::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

bool PeerIsThisUser(int socket) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == ::geteuid();
}

void SendRequest(int socket, const WarmRequest& request) {
  if (request.descriptors.size() > kMostDescriptors) {
    throw std::runtime_error(std::to_string(request.descriptors.size()) + " open files, more than can be handed over");
  }
  const std::string payload = Encode(request);
  uint32_t length = LengthOf(payload);
  iovec bytes{&length, sizeof(length)};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMostDescriptors)> control{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (!request.descriptors.empty()) {
    const size_t data_bytes = request.descriptors.size() * sizeof(int);
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(data_bytes);
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(data_bytes);
    std::memcpy(CMSG_DATA(part), request.descriptors.data(), data_bytes);
  }
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) != sizeof(length)) Fail("the connection failed");
  SendBytes(socket, payload.data(), payload.size());
}

std::pair<WarmRequest, std::vector<Descriptor>> ReceiveRequest(int socket, int lowest) {
  std::vector<Descriptor> received;
  const uint32_t length = ReceiveLength(socket, received);
  WarmRequest request = Decode(ReceivePayload(socket, length));
  if (request.descriptors.size() != received.size()) {
    throw std::runtime_error("a request with other descriptors than it names");
  }
  std::vector<Descriptor> moved;
  for (const Descriptor& descriptor : received) {
    moved.emplace_back(::fcntl(descriptor.number(), F_DUPFD_CLOEXEC, lowest));
    if (moved.back().number() < 0) Fail("too many open files");
  }
  return {std::move(request), std::move(moved)};
}

void SendText(int socket, const std::string& text) {
  const uint32_t length = LengthOf(text);
  SendBytes(socket, reinterpret_cast<const char*>(&length), sizeof(length));
  SendBytes(socket, text.data(), text.size());
}

std::optional<std::string> ReceiveText(int socket) {
  uint32_t length = 0;
  if (!ReceiveBytes(socket, reinterpret_cast<char*>(&length), sizeof(length))) return std::nullopt;
  return ReceivePayload(socket, length);
}

}  // namespace shardcts
