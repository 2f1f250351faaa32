// How long the phases of a state-dict call take. Semantics: SimpleProfiler in torch/distributed/fsdp, torch 2.13.
//
// A PhaseTimer measures only on a thread that has an active PhaseTimings::Collection; otherwise it only reads a
// pointer. Phases nest: the seconds of a phase exclude those of inner phases, so the sum over all phases is the total
// time in them.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string_view>

namespace shardcts::reference {

enum class TimedPhase {
  kHooks,       // before and after the modules of a unit are visited, without the phases below
  kUnshard,     // allocating a full flat parameter and making views of it
  kGather,      // communication
  kDeviceCopy,  // from and to the CPU
  kReshard,     // freeing it, exposing the parameters at rest
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

  // During its lifetime, timers on this thread add to `timings`; nullptr: they measure nothing.
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

// Its lifetime is one call of a phase.
class PhaseTimer {
 public:
  explicit PhaseTimer(TimedPhase phase);
  ~PhaseTimer();
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  using Clock = std::chrono::steady_clock;

  PhaseTimings* timings_;  // nullptr: nothing is measured
  TimedPhase phase_;
  PhaseTimer* outer_ = nullptr;
  Clock::time_point start_;
  Clock::duration inner_{};  // of timers nested in this one
};

}  // namespace shardcts::reference
