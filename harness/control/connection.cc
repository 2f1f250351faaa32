#include "control/connection.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "control/address.h"

namespace shardcts {
namespace {

constexpr std::chrono::seconds kConnectLimit{30};

std::string ThisHost() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

Descriptor Connect(const std::filesystem::path& pool_folder, const ControlAddress& address) {
  try {
    return ConnectTo(address, kConnectLimit);
  } catch (const std::runtime_error& error) {
    throw ControlError(ControlFile(pool_folder).string() + ": " + error.what());
  }
}

}  // namespace

ControlConnection::ControlConnection(const std::filesystem::path& pool_folder, int rank, std::chrono::seconds patience) {
  const ControlAddress address = ReadControlAddress(pool_folder);
  socket_ = Connect(pool_folder, address);
  const timeval limit{patience.count(), 0};
  ::setsockopt(socket_.number(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(socket_.number(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  Send(ToFrame(Hello{address.token, rank, ::getpid(), ThisHost()}));
  const Message answer = AwaitMessage();
  if (const auto* refusal = std::get_if<Refusal>(&answer)) throw ControlError(refusal->reason);
  const auto* welcome = std::get_if<Welcome>(&answer);
  if (welcome == nullptr) throw ControlError("the controller answers out of turn");
  rank_ = static_cast<int>(welcome->rank);
  world_size_ = static_cast<int>(welcome->world_size);
}

std::vector<Contribution> ControlConnection::Exchange(const std::vector<int64_t>& ranks, Contribution mine) {
  Send(ToFrame(shardcts::Exchange{ranks, std::move(mine)}));
  std::vector<Contribution> all(ranks.empty() ? static_cast<size_t>(world_size_) : ranks.size());
  for (Contribution& one : all) one = AwaitGathered(ranks);
  return all;
}

void ControlConnection::Tell(const Message& message) {
  try {
    Send(ToFrame(message));
  } catch (const ControlError&) {  // the next exchange says it again
  }
}

void ControlConnection::Receive() {
  while (ReceiveSome(false)) {
  }
  while (std::optional<Message> message = reader_.Next(kMaxFrameBytes)) {
    if (TakeNotice(std::move(*message))) throw ControlError("the controller answers out of turn");
  }
}

Contribution ControlConnection::AwaitGathered(const std::vector<int64_t>& ranks) {
  while (true) {
    std::optional<Message> message = reader_.Next(kMaxFrameBytes);
    if (!message) {
      ThrowIfGone(ranks);
      message = AwaitMessage();
    }
    if (std::optional<Message> other = TakeNotice(std::move(*message))) {
      if (auto* gathered = std::get_if<Gathered>(&*other)) return std::move(gathered->theirs);
      throw ControlError("the controller answers out of turn");
    }
  }
}

void ControlConnection::ThrowIfGone(const std::vector<int64_t>& ranks) const {
  for (const auto& [rank, how] : gone_) {
    if (ranks.empty() || std::ranges::binary_search(ranks, rank)) throw ExchangeEnded(how);
  }
}

Message ControlConnection::AwaitMessage() {
  while (true) {
    if (std::optional<Message> message = reader_.Next(kMaxFrameBytes)) return std::move(*message);
    ReceiveSome(true);
  }
}

bool ControlConnection::ReceiveSome(bool wait) {
  char buffer[kReadBytes];
  while (true) {
    const ssize_t got = ::recv(socket_.number(), buffer, sizeof buffer, wait ? 0 : MSG_DONTWAIT);
    if (got > 0) {
      reader_.Append(buffer, static_cast<size_t>(got));
      return true;
    }
    if (got == 0) throw ControlError("the controller has closed the connection");
    if (errno == EINTR) continue;
    const bool late = errno == EAGAIN || errno == EWOULDBLOCK;
    if (late && !wait) return false;
    throw ControlError(late ? "the controller is silent" : std::string("the connection to the controller failed: ") +
                                                               std::strerror(errno));
  }
}

std::optional<Message> ControlConnection::TakeNotice(Message message) {
  if (const auto* stop = std::get_if<PeerStop>(&message)) {
    if (!peer_stop_ || peer_stop_->test < stop->test) peer_stop_ = *stop;
    return std::nullopt;
  }
  if (const auto* gone = std::get_if<PeerGone>(&message)) {
    gone_.emplace(gone->rank, gone->how);
    return std::nullopt;
  }
  return message;
}

void ControlConnection::Send(const std::string& frame) {
  for (size_t done = 0; done < frame.size();) {
    const ssize_t sent = ::send(socket_.number(), frame.data() + done, frame.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) throw ControlError(std::string("the connection to the controller failed: ") + std::strerror(errno));
    done += static_cast<size_t>(sent);
  }
}

}  // namespace shardcts
