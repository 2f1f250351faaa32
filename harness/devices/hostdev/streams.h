// The streams and events of the emulated devices: queues of work that is done late.
//
// What is submitted to a stream is done when somebody waits for it: a synchronization of the stream, the device or an
// event, or the next work of the stream itself, which runs after it. Until then its output is poison. A device of real
// hardware may be as late; the emulator always is, or as a seed decides (Lateness). All functions are *Local* and may be
// called from any thread.
#pragma once

#include <c10/core/Stream.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace shardcts::hostdev {

using Task = std::function<void()>;

// SHARDCTS_HOSTDEV_LATE: "all" (default: whatever may be late is), "none" (all is done when it is submitted), or a seed, a
// number: it decides for each piece of work whether it is late, and when streams go on by themselves, and how far. Of one
// thread the order is the same in every run.
struct Lateness {
  enum class Kind { kAll, kNone, kSeeded } kind = Kind::kAll;
  uint64_t seed = 0;
};
const Lateness& ChosenLateness();
// Ranks draw different numbers from one seed. The first call counts.
void SeedForRank(int rank);

c10::Stream CurrentStream(c10::DeviceIndex device);
c10::Stream DefaultStream(c10::DeviceIndex device);
c10::Stream NewStream(c10::DeviceIndex device);
// Of this thread. Returns the stream that was current.
c10::Stream ExchangeStream(const c10::Stream& stream);

c10::DeviceIndex CurrentDevice();
// Of this thread. Error when there is no such device.
void SetCurrentDevice(c10::DeviceIndex device);

// Whether the next piece of work is to be late. One that is not is done by Submit.
bool NextIsLate();
// After what the stream has. With `late` false, or `task` the first that fails, it is done here; errors are thrown by
// whoever waits. `is_ready`: whether the task would end without another rank; empty: it does.
void Submit(const c10::Stream& stream, Task task, bool late, std::function<bool()> is_ready = {});
// Once all that is submitted to these streams now is done; at once when that is so already.
void AfterSubmitted(const std::vector<c10::Stream>& streams, const Task& task);

// Does all that is submitted to the stream.
void Finish(const c10::Stream& stream);
void FinishDevice(c10::DeviceIndex device);
bool IsFinished(const c10::Stream& stream);

// A place in a stream: what was submitted before it.
struct Mark {
  c10::StreamId stream = 0;
  c10::DeviceIndex device = 0;
  uint64_t position = 0;
};
Mark MarkNow(const c10::Stream& stream);
bool IsReached(const Mark& mark);
void FinishUntil(const Mark& mark);
// What is submitted to `stream` from now on comes after the mark.
void LetWait(const c10::Stream& stream, const Mark& mark);

}  // namespace shardcts::hostdev
