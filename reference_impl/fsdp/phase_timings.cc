#include "fsdp/phase_timings.h"

namespace shardcts::reference {
namespace {

thread_local PhaseTimings* collecting = nullptr;
thread_local PhaseTimer* innermost = nullptr;

}  // namespace

std::string_view NameOf(TimedPhase phase) {
  switch (phase) {
    case TimedPhase::kHooks: return "hooks";
    case TimedPhase::kUnshard: return "unshard";
    case TimedPhase::kGather: return "gather";
    case TimedPhase::kDeviceCopy: return "device_copy";
    case TimedPhase::kReshard: return "reshard";
  }
  return "";
}

PhaseTimings::Collection::Collection(PhaseTimings* timings) : previous_(collecting) { collecting = timings; }
PhaseTimings::Collection::~Collection() { collecting = previous_; }

PhaseTimer::PhaseTimer(TimedPhase phase) : timings_(collecting), phase_(phase) {
  if (!timings_) return;
  outer_ = innermost;
  innermost = this;
  start_ = Clock::now();
}

PhaseTimer::~PhaseTimer() {
  if (!timings_) return;
  const Clock::duration whole = Clock::now() - start_;
  PhaseTimings::Total& total = timings_->totals_[static_cast<size_t>(phase_)];
  ++total.calls;
  total.seconds += std::chrono::duration<double>(whole - inner_).count();
  innermost = outer_;
  if (outer_) outer_->inner_ += whole;
}

}  // namespace shardcts::reference
