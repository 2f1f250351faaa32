// How long the phases of a state-dict call take. The role of SimpleProfiler in torch/distributed/fsdp, torch 2.13.
//
// A PhaseTimer measures only on a thread on which somebody has begun to collect (PhaseTimings::Collection); elsewhere
// it costs one look at a pointer. Phases nest: the seconds of a phase are those in which no inner one ran, so that the
// sum over all phases is the time spent in them.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace shardcts::reference {

enum class TimedPhase {
  kHooks,       // what a unit does before and after its modules are visited, but for the phases below
  kUnshard,     // making room for, and views of, a whole flat parameter
  kGather,      // communication
  kDeviceCopy,  // from and to the CPU
  kReshard,     // freeing it, exposing what is there at rest
};
constexpr std::array kPhases = {TimedPhase::kHooks, TimedPhase::kUnshard, TimedPhase::kGather, TimedPhase::kDeviceCopy,
                                TimedPhase::kReshard};
std::string_view NameOf(TimedPhase phase);  // "hooks", "unshard", "gather", "device_copy", "reshard"

// All *Local*.
class PhaseTimings {
 public:
  struct Total {
    int64_t calls = 0;
    double seconds = 0;
  };
  const Total& Of(TimedPhase phase) const { return totals_[static_cast<size_t>(phase)]; }
  void Clear() { totals_ = {}; }

  // While it lives, timers on this thread add to `timings`; nullptr: nobody asks.
  class Collection {
   public:
    explicit Collection(PhaseTimings* timings);
    ~Collection();
    Collection(const Collection&) = delete;
    Collection& operator=(const Collection&) = delete;

   private:
    PhaseTimings* previous_;
  };

 private:
  friend class PhaseTimer;
  std::array<Total, kPhases.size()> totals_;
};

// From construction to destruction one call of a phase.
class PhaseTimer {
 public:
  explicit PhaseTimer(TimedPhase phase);
  ~PhaseTimer();
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;

  PhaseTimings* timings_;  // nullptr: nobody asks
  TimedPhase phase_;
  PhaseTimer* outer_ = nullptr;
  Clock::time_point start_;
  Clock::duration inner_{};  // of timers that lived within this one
};

}  // namespace shardcts::reference
