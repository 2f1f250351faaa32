#include "control/hub.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "control/address.h"
#include "run_files/foreign_text.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kHelloLimit{10};
constexpr size_t kMaxStrangers = 64;  // connections that have not said hello
constexpr size_t kMaxErrors = 4;      // of a rank and test

using Frames = std::shared_ptr<const std::string>;

Frames MakeFrames(const Message& message) { return std::make_shared<const std::string>(ToFrame(message)); }

void Notify(int event) {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(event, &one, sizeof one);
}

void Drain(int event) {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(event, &count, sizeof count);
}

struct Connection {
  Descriptor socket;
  Clock::time_point since = Clock::now();
  FrameReader reader;
  std::optional<int> rank;      // once it has said hello
  std::deque<Frames> outgoing;  // what the socket has not taken yet
  size_t sent = 0;              // of the first
  bool ended = false;
};

// A rank that waits for its peers.
struct Waiting {
  std::vector<int64_t> ranks;
  Contribution contribution;
};

Descriptor NewEvent() { return Descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

}  // namespace

class ControlHub::Loop {
 public:
  explicit Loop(const Options& options)
      : standings_(static_cast<size_t>(options.world_size)),
        waiting_(standings_.size()),
        stopped_(standings_.size(), -1),
        connections_of_(standings_.size(), nullptr) {
    address_.token = RandomToken();
    address_.unix_name = "shardcts-control-" + RandomToken();
    try {
      listening_.push_back(ListenOnUnix(address_.unix_name));
      if (options.other_hosts) {
        address_.tcp_host = options.tcp_host.empty() ? AddressOfThisHost() : options.tcp_host;
        listening_.push_back(ListenOnTcp(address_.tcp_host, &address_.tcp_port));
      }
    } catch (const std::runtime_error& error) {
      throw InputError(std::string("the ranks cannot be waited for: ") + error.what());
    }
    for (const Descriptor& socket : listening_) ::fcntl(socket.number(), F_SETFL, O_NONBLOCK);
    WriteControlAddress(options.pool_folder, address_);
    thread_ = std::jthread([this] { Run(); });
  }

  ~Loop() {
    stop_ = true;
    Notify(wake_.number());
  }

  int news() const { return news_.number(); }

  std::vector<RankStanding> Standings() {
    const std::lock_guard lock(mutex_);
    Drain(news_.number());
    return standings_;
  }

  std::vector<std::vector<int>> Lost() const {
    const std::lock_guard lock(mutex_);
    return lost_;
  }

 private:
  void Run() {
    while (!stop_) {
      std::vector<pollfd> watched = {{wake_.number(), POLLIN, 0}};
      for (const Descriptor& socket : listening_) watched.push_back({socket.number(), POLLIN, 0});
      for (const Connection& connection : connections_) {
        const short output = connection.outgoing.empty() ? 0 : POLLOUT;
        watched.push_back({connection.socket.number(), static_cast<short>(POLLIN | output), 0});
      }
      if (::poll(watched.data(), watched.size(), MillisecondsToNextLimit()) < 0 && errno != EINTR) return;
      const std::lock_guard lock(mutex_);
      first_of_round_ = true;
      size_t next = 1 + listening_.size();
      for (Connection& connection : connections_) Serve(connection, watched[next++].revents);
      for (size_t i = 0; i < listening_.size(); ++i) {
        if (watched[1 + i].revents != 0) Accept(listening_[i].number(), i == 0);
      }
      EndSilentStrangers();
      connections_.remove_if([](const Connection& connection) { return connection.ended; });
    }
  }

  int MillisecondsToNextLimit() const {
    int limit = -1;
    for (const Connection& connection : connections_) {
      if (connection.rank) continue;
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(connection.since + kHelloLimit - Clock::now());
      const int milliseconds = static_cast<int>(std::max<int64_t>(0, left.count()) + 1);
      limit = limit < 0 ? milliseconds : std::min(limit, milliseconds);
    }
    return limit;
  }

  void Accept(int listening, bool is_unix) {
    Descriptor socket(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket.number() < 0 || (is_unix && !PeerIsThisUser(socket.number()))) return;
    const auto strangers = std::ranges::count_if(connections_, [](const Connection& one) { return !one.rank; });
    if (static_cast<size_t>(strangers) >= kMaxStrangers) return;
    connections_.emplace_back().socket = std::move(socket);
  }

  void EndSilentStrangers() {
    for (Connection& connection : connections_) {
      if (!connection.rank && Clock::now() > connection.since + kHelloLimit) connection.ended = true;
    }
  }

  void Serve(Connection& connection, short events) {
    if (connection.ended) return;
    if ((events & POLLOUT) != 0) Flush(connection);
    if ((events & (POLLIN | POLLHUP | POLLERR)) == 0) return;
    try {
      const bool open = ReceiveAll(connection);
      const auto limit = [&] { return connection.rank ? kMaxFrameBytes : kMaxHelloBytes; };
      while (std::optional<Message> message = connection.reader.Next(limit())) {
        Handle(connection, *message);
        if (connection.ended) return;
      }
      if (!open) End(connection, "its connection to the controller ended");
    } catch (const ProtocolViolation& violation) {
      End(connection, std::string("it sent the controller ") + violation.what());
    }
  }

  // False when the other side has closed the connection.
  static bool ReceiveAll(Connection& connection) {
    char buffer[kReadBytes];
    while (true) {
      const ssize_t got = ::recv(connection.socket.number(), buffer, sizeof buffer, 0);
      if (got > 0) connection.reader.Append(buffer, static_cast<size_t>(got));
      if (got == static_cast<ssize_t>(sizeof buffer)) continue;
      if (got < 0 && errno == EINTR) continue;
      return got > 0 || (got < 0 && errno == EAGAIN);
    }
  }

  void Handle(Connection& connection, Message& message) {
    if (!connection.rank) return Greet(connection, message);
    const auto rank = static_cast<size_t>(*connection.rank);
    RankStanding& standing = standings_[rank];
    if (auto* exchange = std::get_if<Exchange>(&message)) {
      Await(rank, std::move(*exchange));
    } else if (const auto* position = std::get_if<Position>(&message)) {
      standing.operation = position->operation;
      standing.step = position->step;
    } else if (const auto* error = std::get_if<RaisedError>(&message)) {
      if (standing.errors.size() < kMaxErrors) standing.errors.push_back(Describe(*error));
    } else if (const auto* stop = std::get_if<StopNotice>(&message)) {
      ForwardStop(rank, stop->test);
    } else if (const auto* farewell = std::get_if<Farewell>(&message)) {
      standing.failure = Beginning(farewell->failure, kMaxNoteBytes);
      standing.left = standing.failure.empty();
      End(connection, standing.left ? "has left the pool" : standing.failure);
    } else {
      throw ProtocolViolation("a message that ranks do not send");
    }
  }

  static std::string Describe(const RaisedError& error) {
    return Beginning(error.text, kMaxNoteBytes) + " in " + error.operation.substr(0, kMaxNoteBytes) + " (step " +
           std::to_string(error.step) + ")";
  }

  void Greet(Connection& connection, const Message& message) {
    const auto* hello = std::get_if<Hello>(&message);
    if (hello == nullptr || hello->token != address_.token) {
      connection.ended = true;
      return;
    }
    int64_t rank = hello->rank;
    if (rank < 0) rank = std::ranges::find(connections_of_, nullptr) - connections_of_.begin();
    if (rank >= static_cast<int64_t>(standings_.size())) {
      return Refuse(connection, "the launcher started more ranks than the plan's " + std::to_string(standings_.size()));
    }
    if (standings_[static_cast<size_t>(rank)].connected) {
      return Refuse(connection, "rank " + std::to_string(rank) + " is here already");
    }
    RankStanding& standing = standings_[static_cast<size_t>(rank)];
    standing.connected = true;
    standing.pid = hello->pid;
    standing.host = hello->host;
    connection.rank = static_cast<int>(rank);
    connections_of_[static_cast<size_t>(rank)] = &connection;
    Send(connection, MakeFrames(Welcome{rank, static_cast<int64_t>(standings_.size())}));
    for (size_t other = 0; other < standings_.size(); ++other) {
      if (standings_[other].left || standings_[other].lost) Send(connection, GoneNotice(other));
      if (stopped_[other] >= 0) Send(connection, StopFrame(other));
    }
  }

  void Refuse(Connection& connection, const std::string& reason) {
    Send(connection, MakeFrames(Refusal{reason}));
    connection.ended = true;
  }

  void Await(size_t rank, Exchange exchange) {
    if (!std::ranges::is_sorted(exchange.ranks)) throw ProtocolViolation("an exchange of unordered ranks");
    for (const int64_t other : exchange.ranks) {
      if (other < 0 || other >= static_cast<int64_t>(standings_.size())) {
        throw ProtocolViolation("an exchange with rank " + std::to_string(other));
      }
    }
    RankStanding& standing = standings_[rank];
    standing.waits = exchange.mine.what;
    if (exchange.mine.what == Together::kOperation) {
      standing.operation = exchange.mine.operation;
      standing.step = exchange.mine.step;
    }
    waiting_[rank] = Waiting{std::move(exchange.ranks), std::move(exchange.mine)};
    AnswerWhenAllAreHere(*waiting_[rank]);
  }

  void AnswerWhenAllAreHere(const Waiting& one) {
    std::vector<size_t> members(one.ranks.begin(), one.ranks.end());
    if (members.empty()) {
      for (size_t rank = 0; rank < standings_.size(); ++rank) members.push_back(rank);
    }
    for (const size_t rank : members) {
      if (!waiting_[rank] || waiting_[rank]->ranks != one.ranks) return;
    }
    const bool whole_pool = one.ranks.empty();
    std::string frames;
    bool all_end = true;
    for (const size_t rank : members) {
      all_end = all_end && waiting_[rank]->contribution.what == Together::kEnd;
      frames += ToFrame(Gathered{std::move(waiting_[rank]->contribution)});
    }
    const Frames answer = std::make_shared<const std::string>(std::move(frames));
    for (const size_t rank : members) {
      waiting_[rank].reset();
      RankStanding& standing = standings_[rank];
      standing.waits.reset();
      if (whole_pool && all_end) BeginNextTest(standing);
      if (connections_of_[rank] != nullptr) Send(*connections_of_[rank], answer);
    }
  }

  static void BeginNextTest(RankStanding& standing) {
    ++standing.test;
    standing.operation.clear();
    standing.step = 0;
    standing.errors.clear();
  }

  // Once for each rank and test.
  void ForwardStop(size_t rank, int64_t test) {
    if (test <= stopped_[rank]) return;
    stopped_[rank] = test;
    SendToOthers(rank, StopFrame(rank));
  }

  Frames StopFrame(size_t rank) const { return MakeFrames(PeerStop{static_cast<int64_t>(rank), stopped_[rank]}); }

  Frames GoneNotice(size_t rank) const {
    const RankStanding& standing = standings_[rank];
    return MakeFrames(PeerGone{static_cast<int64_t>(rank), "rank " + std::to_string(rank) + " " +
                                                               (standing.left ? "has left the pool" : "is gone")});
  }

  // The connection has ended; `how` is for those that had said hello and not farewell.
  void End(Connection& connection, const std::string& how) {
    connection.ended = true;
    if (!connection.rank) return;
    const auto rank = static_cast<size_t>(*connection.rank);
    connections_of_[rank] = nullptr;
    waiting_[rank].reset();
    if (!standings_[rank].left) {
      standings_[rank].lost = how;
      if (std::exchange(first_of_round_, false)) lost_.emplace_back();
      lost_.back().push_back(*connection.rank);
    }
    Notify(news_.number());  // before the peers know: the controller is never later than they are
    SendToOthers(rank, GoneNotice(rank));
  }

  void SendToOthers(size_t rank, const Frames& frames) {
    for (size_t other = 0; other < connections_of_.size(); ++other) {
      if (other != rank && connections_of_[other] != nullptr) Send(*connections_of_[other], frames);
    }
  }

  // Never waits. A connection that fails here is noticed when it is read.
  static void Send(Connection& connection, const Frames& frames) {
    connection.outgoing.push_back(frames);
    if (connection.outgoing.size() == 1) Flush(connection);
  }

  static void Flush(Connection& connection) {
    while (!connection.outgoing.empty()) {
      const std::string& frames = *connection.outgoing.front();
      const ssize_t sent = ::send(connection.socket.number(), frames.data() + connection.sent,
                                  frames.size() - connection.sent, MSG_NOSIGNAL);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0 && errno == EAGAIN) return;
      connection.sent = sent < 0 ? frames.size() : connection.sent + static_cast<size_t>(sent);
      if (connection.sent < frames.size()) continue;
      connection.outgoing.pop_front();
      connection.sent = 0;
    }
  }

  ControlAddress address_;
  std::vector<Descriptor> listening_;  // the Unix socket first
  const Descriptor wake_ = NewEvent(), news_ = NewEvent();
  std::atomic<bool> stop_ = false;
  std::list<Connection> connections_;  // of the loop's thread alone
  mutable std::mutex mutex_;           // of what follows
  std::vector<RankStanding> standings_;
  std::vector<std::optional<Waiting>> waiting_;
  std::vector<int64_t> stopped_;  // the last test that each rank has told to have stopped
  std::vector<Connection*> connections_of_;
  std::vector<std::vector<int>> lost_;
  bool first_of_round_ = true;  // no rank was lost since the hub looked
  std::jthread thread_;  // last: it uses everything
};

ControlHub::ControlHub(const Options& options) : loop_(std::make_unique<Loop>(options)) {}
ControlHub::~ControlHub() = default;
int ControlHub::news() const { return loop_->news(); }
std::vector<RankStanding> ControlHub::Standings() { return loop_->Standings(); }
std::vector<std::vector<int>> ControlHub::Lost() const { return loop_->Lost(); }

}  // namespace shardcts
