#include "rank/control_plane.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "comm/communicator.h"
#include "control/connection.h"

namespace shardcts {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kStopGrace{100};
constexpr std::chrono::milliseconds kLookInterval{1};
// What an end says of itself.
constexpr char kFailed = 1;
constexpr char kBroken = 2;

bool Says(const Contribution& end, char what) { return !end.bytes.empty() && (end.bytes.front() & what) != 0; }

std::string Activity(const Contribution& contribution) {
  switch (contribution.what) {
    case Together::kOperation: return "calls " + contribution.operation;
    case Together::kEnd: return Says(contribution, kFailed) ? "stopped after a failure" : "ended the test";
    case Together::kAllGather: return "exchanges values";
    case Together::kSubgroup: return "lets some ranks go on alone";
    case Together::kRendezvous: return "makes a communicator";
  }
  return "";
}

}  // namespace

ControlPlane::ControlPlane(ControlConnection& connection)
    : connection_(&connection), rank_(connection.rank()), size_(connection.world_size()) {}

ControlPlane::ControlPlane() : connection_(nullptr), rank_(0), size_(1) {}

std::vector<Contribution> ControlPlane::Exchange(Contribution mine) {
  if (connection_ == nullptr) return {std::move(mine)};
  const std::string activity = Activity(mine);
  try {
    return connection_->Exchange(active_, std::move(mine));
  } catch (const ExchangeEnded& ended) {
    throw PeerStopped(fmt::format("rank {} {}, but {}", rank_, activity, ended.what()));
  } catch (const std::runtime_error& error) {  // what the controller says is not understood, or it is gone
    controller_is_gone_ = true;
    throw PeerStopped(fmt::format("rank {} {}, but {}", rank_, activity, error.what()));
  }
}

std::vector<Contribution> ControlPlane::ComeTogether(Contribution mine) {
  const Together what = mine.what;
  const std::string operation = mine.operation;
  const std::string activity = Activity(mine);
  const std::vector<Contribution> all = Exchange(std::move(mine));
  std::string others;
  bool peer_failed = false;
  for (size_t i = 0; i < all.size(); ++i) {
    if (all[i].what == what && all[i].operation == operation) continue;
    peer_failed = peer_failed || (all[i].what == Together::kEnd && Says(all[i], kFailed));
    if (others.size() > 200) continue;
    const int64_t rank = active_.empty() ? static_cast<int64_t>(i) : active_[i];
    others += fmt::format("{}rank {} {}", others.empty() ? "" : ", ", rank, Activity(all[i]));
  }
  if (others.empty()) return all;
  const std::string text = fmt::format("rank {} {}, but {}", rank_, activity, others);
  if (peer_failed) throw PeerStopped(text);
  throw Diverged(text);
}

int64_t ControlPlane::BeforeCollective(const std::string& operation, int64_t proposed_step) {
  int64_t step = 0;
  for (const Contribution& one : ComeTogether({Together::kOperation, operation, proposed_step, ""})) {
    step = std::max(step, one.step);
  }
  return step;
}

std::vector<std::string> ControlPlane::AllGatherInTest(const std::string& bytes) {
  std::vector<std::string> all;
  for (const Contribution& one : ComeTogether({Together::kAllGather, "", 0, bytes})) all.push_back(one.bytes);
  return all;
}

std::vector<std::string> ControlPlane::AllGather(const std::string& bytes) {
  std::vector<std::string> all;
  try {
    for (Contribution& one : Exchange({Together::kRendezvous, "", 0, bytes})) {
      if (one.what != Together::kRendezvous) throw CommunicationError("a peer " + Activity(one));
      all.push_back(std::move(one.bytes));
    }
  } catch (const PeerStopped& stopped) {
    throw CommunicationError(stopped.what());
  }
  return all;
}

void ControlPlane::Among(const std::vector<int64_t>& ranks, const std::function<void()>& body) {
  ComeTogether({Together::kSubgroup, "", 0, ""});
  if (std::ranges::find(ranks, int64_t{rank_}) == ranks.end()) return;
  active_ = ranks;
  std::ranges::sort(active_);
  const auto leave = [this](bool failed) {
    try {
      ExchangeEnd(failed, false);
    } catch (...) {
      active_.clear();
      throw;
    }
    active_.clear();
  };
  try {
    body();
  } catch (...) {
    leave(true);
    throw;
  }
  leave(false);
}

void ControlPlane::TellOperation(std::string_view operation, int64_t step) {
  if (connection_ != nullptr) connection_->Tell(Position{std::string(operation), step});
}

void ControlPlane::TellError(std::string_view operation, int64_t step, const std::string& text) {
  if (connection_ != nullptr) {
    connection_->Tell(RaisedError{std::string(operation), step, text.substr(0, kMaxNoteBytes)});
  }
}

void ControlPlane::NotifyPeersOfStop() {
  if (connection_ != nullptr) connection_->Tell(StopNotice{test_});
}

bool ControlPlane::must_leave() const {
  return controller_is_gone_ || (connection_ != nullptr && !connection_->gone().empty());
}

std::optional<std::string> ControlPlane::StopOfAPeer() {
  const auto now = Clock::now();
  if (connection_ == nullptr || now < looked_ + kLookInterval) return std::nullopt;
  looked_ = now;
  try {
    connection_->Receive();
  } catch (const std::runtime_error& error) {
    controller_is_gone_ = true;
    stopped_by_ = error.what();
    return stopped_by_;
  }
  if (must_leave()) {
    stopped_by_ = connection_->gone().begin()->second;
    return stopped_by_;
  }
  const std::optional<PeerStop>& stop = connection_->peer_stop();
  if (!stop || stop->test != test_) return std::nullopt;
  if (!heard_) heard_ = now;
  if (now < *heard_ + kStopGrace) return std::nullopt;
  stopped_by_ = fmt::format("rank {} stopped after a failure", stop->rank);
  return stopped_by_;
}

std::vector<Contribution> ControlPlane::ExchangeEnd(bool failed, bool broken) {
  const std::string flags(1, static_cast<char>((failed ? kFailed : 0) | (broken ? kBroken : 0)));
  std::vector<Contribution> all;
  do {
    all = Exchange({Together::kEnd, "", 0, flags});
  } while (!std::ranges::all_of(all, [](const Contribution& one) { return one.what == Together::kEnd; }));
  return all;
}

bool ControlPlane::EndOfTest(bool failed, bool broken) {
  const std::vector<Contribution> all = ExchangeEnd(failed, broken);
  ++test_;
  stopped_by_.clear();
  heard_.reset();
  return std::ranges::any_of(all, [](const Contribution& one) { return Says(one, kBroken); });
}

}  // namespace shardcts
