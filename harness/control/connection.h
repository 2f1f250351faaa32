// ControlConnection: a rank's connection to the controller of its pool. *Local* unless said otherwise; one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "control/descriptor.h"
#include "control/messages.h"

namespace shardcts {

// The connection failed: the controller is gone, refuses this rank, or does not answer.
class ControlError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A rank that an exchange waits for is gone.
class ExchangeEnded : public ControlError {
 public:
  using ControlError::ControlError;
};

class ControlConnection {
 public:
  // Says hello with the token of the pool's folder. `rank` -1: the controller gives this process a number. `patience`:
  // how long to wait for an answer. Throws ControlError, InputError for the file that names the controller.
  ControlConnection(const std::filesystem::path& pool_folder, int rank, std::chrono::seconds patience);

  int rank() const { return rank_; }
  int world_size() const { return world_size_; }

  // *Collective* over `ranks` (ascending; empty: all). What each of them contributes, in their order. Throws
  // ExchangeEnded when one of them is gone, ControlError.
  std::vector<Contribution> Exchange(const std::vector<int64_t>& ranks, Contribution mine);

  // Tells the controller. A connection that is gone is noticed by the next exchange.
  void Tell(const Message& message);

  // Handles the messages that have arrived, without waiting.
  void Receive();
  // The last stop notice of a peer.
  const std::optional<PeerStop>& peer_stop() const { return peer_stop_; }
  // How a rank's connection ended, by rank.
  const std::map<int64_t, std::string>& gone() const { return gone_; }

 private:
  void Send(const std::string& frame);
  // Waits for the next message of an exchange.
  Contribution AwaitGathered(const std::vector<int64_t>& ranks);
  Message AwaitMessage();
  // False: nothing was there.
  bool ReceiveSome(bool wait);
  // Handles notices; returns anything else.
  std::optional<Message> TakeNotice(Message message);
  void ThrowIfGone(const std::vector<int64_t>& ranks) const;

  Descriptor socket_;
  FrameReader reader_;
  int rank_ = -1;
  int world_size_ = 0;
  std::optional<PeerStop> peer_stop_;
  std::map<int64_t, std::string> gone_;
};

}  // namespace shardcts
