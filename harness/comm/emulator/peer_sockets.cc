#include "comm/emulator/peer_sockets.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <thread>
#include <utility>

namespace shardcts::nccl_emulator {
namespace {

constexpr int kPollMs = 10;

[[noreturn]] void FailWithErrno(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

// The address of a rank's listening socket.
socklen_t FillAddress(const std::string& name, int rank, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  const std::string text = name + "/" + std::to_string(rank);
  if (text.size() + 1 > sizeof address.sun_path) throw std::runtime_error("the group's name is too long: " + text);
  std::memcpy(address.sun_path + 1, text.data(), text.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
}

int NewSocket() {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) FailWithErrno("socket");
  return fd;
}

// Closes a file descriptor at the end of a scope.
class ScopedFd {
 public:
  explicit ScopedFd(int fd) : fd_(fd) {}
  ~ScopedFd() {
    if (fd_ >= 0) close(fd_);
  }
  ScopedFd(const ScopedFd&) = delete;
  ScopedFd& operator=(const ScopedFd&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

}  // namespace

PeerSockets::PeerSockets(std::string name, int rank, int size, const std::atomic<bool>& stopped)
    : name_(std::move(name)), rank_(rank), size_(size), stopped_(stopped), peers_(size) {}

PeerSockets::~PeerSockets() {
  for (const Peer& peer : peers_) {
    if (peer.socket >= 0) close(peer.socket);
  }
}

bool PeerSockets::Connect() {
  const ScopedFd listener(NewSocket());
  sockaddr_un address;
  const socklen_t length = FillAddress(name_, rank_, address);
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) FailWithErrno("bind");
  if (listen(listener.get(), size_) != 0) FailWithErrno("listen");
  for (int peer = 0; peer < rank_; ++peer) {
    if (!ConnectTo(peer)) return false;
  }
  for (int missing = size_ - 1 - rank_; missing > 0; --missing) {
    if (!Accept(listener.get())) return false;
  }
  return true;
}

bool PeerSockets::ConnectTo(int peer) {
  sockaddr_un address;
  const socklen_t length = FillAddress(name_, peer, address);
  while (!stopped_) {
    ScopedFd fd(NewSocket());
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) == 0) {
      const int32_t own = rank_;
      if (send(fd.get(), &own, sizeof own, MSG_NOSIGNAL) != sizeof own) FailWithErrno("send");
      peers_[peer].socket = fd.release();
      return true;
    }
    if (errno != ECONNREFUSED && errno != EAGAIN && errno != EINTR) FailWithErrno("connect");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));  // it does not listen yet
  }
  return false;
}

bool PeerSockets::Accept(int listener) {
  while (!stopped_) {
    pollfd waiting = {listener, POLLIN, 0};
    if (poll(&waiting, 1, kPollMs) <= 0) continue;
    ScopedFd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (fd.get() < 0) continue;
    int32_t peer = -1;
    // The peer has sent it right after it connected.
    if (recv(fd.get(), &peer, sizeof peer, MSG_WAITALL) != sizeof peer) FailWithErrno("recv");
    if (peer <= rank_ || peer >= size_ || peers_[peer].socket >= 0)
      throw std::runtime_error("a stranger has connected");
    peers_[peer].socket = fd.release();
    return true;
  }
  return false;
}

bool PeerSockets::Exchange(uint32_t operation, const std::vector<Message>& sends,
                           const std::vector<Message>& receives) {
  std::deque<Message> to_self;
  for (const Message& message : sends) {
    if (message.peer == rank_) {
      to_self.push_back(message);
    } else {
      const Header header = {operation, 0, message.bytes};
      peers_[message.peer].sends.push_back({header, message.data, header});
    }
  }
  for (const Message& message : receives) {
    if (message.peer != rank_) {
      peers_[message.peer].receives.push_back({{}, message.data, {operation, 0, message.bytes}});
      continue;
    }
    if (to_self.empty() || to_self.front().bytes != message.bytes) {
      throw std::runtime_error("what a rank sends to itself is not what it receives");
    }
    if (message.bytes > 0) std::memmove(message.data, to_self.front().data, message.bytes);
    to_self.pop_front();
  }
  if (!to_self.empty()) throw std::runtime_error("a rank does not receive what it sends to itself");
  const auto busy = [](const Peer& peer) { return !peer.sends.empty() || !peer.receives.empty(); };
  while (std::any_of(peers_.begin(), peers_.end(), busy)) {
    if (stopped_) return false;
    Poll();
  }
  return true;
}

void PeerSockets::Poll() {
  std::vector<pollfd> waiting;
  std::vector<int> ranks;
  for (int r = 0; r < size_; ++r) {
    const Peer& peer = peers_[r];
    const int events = (peer.sends.empty() ? 0 : POLLOUT) | (peer.receives.empty() ? 0 : POLLIN);
    if (peer.socket < 0 || events == 0) continue;
    waiting.push_back({peer.socket, static_cast<short>(events), 0});
    ranks.push_back(r);
  }
  if (poll(waiting.data(), waiting.size(), kPollMs) <= 0) return;
  for (size_t i = 0; i < waiting.size(); ++i) {
    Peer& peer = peers_[ranks[i]];
    if ((waiting[i].events & POLLOUT) && waiting[i].revents) SendSome(peer);
    if ((waiting[i].events & POLLIN) && waiting[i].revents && peer.socket >= 0) ReceiveSome(ranks[i], peer);
  }
}

std::span<char> PeerSockets::Transfer::Next() {
  if (done < sizeof(Header)) return {reinterpret_cast<char*>(&header) + done, sizeof(Header) - done};
  return {data + (done - sizeof(Header)), sizeof(Header) + expected.bytes - done};
}

void PeerSockets::SendSome(Peer& peer) {
  while (!peer.sends.empty()) {
    Transfer& transfer = peer.sends.front();
    const std::span<char> next = transfer.Next();
    const ssize_t sent = send(peer.socket, next.data(), next.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EAGAIN || errno == EINTR) return;
      close(std::exchange(peer.socket, -1));  // gone: it is waited for
      return;
    }
    transfer.done += static_cast<size_t>(sent);
    if (transfer.complete()) peer.sends.pop_front();
  }
}

void PeerSockets::ReceiveSome(int rank, Peer& peer) {
  while (!peer.receives.empty()) {
    Transfer& transfer = peer.receives.front();
    const std::span<char> next = transfer.Next();
    const ssize_t received = recv(peer.socket, next.data(), next.size(), MSG_DONTWAIT);
    if (received < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (received <= 0) {
      close(std::exchange(peer.socket, -1));  // gone: it is waited for
      return;
    }
    transfer.done += static_cast<size_t>(received);
    if (transfer.done == sizeof(Header)) CheckHeader(rank, transfer);
    if (transfer.complete()) peer.receives.pop_front();
  }
}

void PeerSockets::CheckHeader(int rank, const Transfer& transfer) {
  const Header& theirs = transfer.header;
  const Header& ours = transfer.expected;
  if (theirs.operation == ours.operation && theirs.bytes == ours.bytes) return;
  throw std::runtime_error("rank " + std::to_string(rank) + " calls operation " + std::to_string(theirs.operation) +
                           " with " + std::to_string(theirs.bytes) + " bytes, this rank operation " +
                           std::to_string(ours.operation) + " with " + std::to_string(ours.bytes));
}

}  // namespace shardcts::nccl_emulator
