#include "devices/hostdev/streams.h"

#include <c10/util/Exception.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>

#include "devices/hostdev/arena.h"
#include "devices/hostdev/device_code.h"

namespace shardcts::hostdev {
namespace {

struct Submitted {
  Task task;
  std::function<bool()> is_ready;  // empty: always
};

struct Queue {
  std::deque<Submitted> tasks;
  uint64_t submitted = 0;
  uint64_t done = 0;
};

struct State {
  std::recursive_mutex mutex;
  int depth = 0;                // how often the mutex is held by its thread
  std::vector<Task> finished;   // destroyed without the mutex: their tensors may need Python's lock
  std::array<std::map<c10::StreamId, Queue>, kMostDevices> queues;
  c10::StreamId next_id = 1;
  std::mt19937_64 random;
};

State& Shared() {
  static State* state = [] {
    State* made = new State;
    made->random.seed(ChosenLateness().seed);
    return made;
  }();
  return *state;
}

class Lock {
 public:
  Lock() {
    Shared().mutex.lock();
    ++Shared().depth;
  }
  ~Lock() {
    std::vector<Task> finished;
    if (--Shared().depth == 0) finished.swap(Shared().finished);
    Shared().mutex.unlock();
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
};

Queue& QueueOf(c10::DeviceIndex device, c10::StreamId stream) { return Shared().queues.at(device)[stream]; }
Queue& QueueOf(const c10::Stream& stream) { return QueueOf(stream.device_index(), stream.id()); }

// A task that fails is done all the same: its error is thrown once.
void Advance(Queue& queue, uint64_t position) {
  const DeviceCode device_code;
  while (queue.done < position && !queue.tasks.empty()) {
    Task task = std::move(queue.tasks.front().task);
    queue.tasks.pop_front();
    ++queue.done;
    Shared().finished.push_back(task);
    task();
  }
}

// Of hardware that goes on by itself: a stream of the device that the seed chooses does a number of tasks that it chooses.
// None that would have to wait for another rank.
void ProgressAtRandom(c10::DeviceIndex device) {
  if (ChosenLateness().kind != Lateness::Kind::kSeeded) return;
  std::map<c10::StreamId, Queue>& queues = Shared().queues.at(device);
  if (Shared().random() % 4 != 0 || queues.empty()) return;
  const auto chosen = std::next(queues.begin(), static_cast<std::ptrdiff_t>(Shared().random() % queues.size()));
  Queue& queue = chosen->second;
  for (uint64_t left = Shared().random() % 4; left > 0 && !queue.tasks.empty(); --left) {
    if (const auto& is_ready = queue.tasks.front().is_ready; is_ready && !is_ready()) return;
    Advance(queue, queue.done + 1);
  }
}

thread_local c10::DeviceIndex current_device = 0;
thread_local std::array<c10::StreamId, kMostDevices> current_streams{};

c10::Stream MakeStream(c10::DeviceIndex device, c10::StreamId id) {
  return c10::Stream(c10::Stream::UNSAFE, c10::Device(c10::DeviceType::PrivateUse1, device), id);
}

}  // namespace

const Lateness& ChosenLateness() {
  static const Lateness chosen = [] {
    const char* text = std::getenv("SHARDCTS_HOSTDEV_LATE");
    const std::string value = text == nullptr ? "" : text;
    if (value.empty() || value == "all") return Lateness{};
    if (value == "none") return Lateness{Lateness::Kind::kNone, 0};
    TORCH_CHECK(value.find_first_not_of("0123456789") == std::string::npos && value.size() < 19,
                "SHARDCTS_HOSTDEV_LATE=", value, ": neither all, none, nor a seed");
    return Lateness{Lateness::Kind::kSeeded, std::stoull(value)};
  }();
  return chosen;
}

void SeedForRank(int rank) {
  static const bool once = [rank] {
    const Lock lock;
    Shared().random.seed(ChosenLateness().seed + 1000003 * static_cast<uint64_t>(rank + 1));
    return true;
  }();
  (void)once;
}

c10::Stream DefaultStream(c10::DeviceIndex device) { return MakeStream(device, 0); }

c10::Stream CurrentStream(c10::DeviceIndex device) { return MakeStream(device, current_streams.at(device)); }

c10::Stream NewStream(c10::DeviceIndex device) {
  const Lock lock;
  return MakeStream(device, Shared().next_id++);
}

c10::Stream ExchangeStream(const c10::Stream& stream) {
  const c10::Stream before = CurrentStream(stream.device_index());
  current_streams.at(stream.device_index()) = stream.id();
  return before;
}

c10::DeviceIndex CurrentDevice() { return current_device; }

void SetCurrentDevice(c10::DeviceIndex device) {
  TORCH_CHECK(device >= 0 && device < DeviceCount(), "hostdev:", int{device}, " does not exist, ", int{DeviceCount()},
              " devices are there");
  current_device = device;
}

bool NextIsLate() {
  const Lateness& lateness = ChosenLateness();
  if (lateness.kind != Lateness::Kind::kSeeded) return lateness.kind == Lateness::Kind::kAll;
  const Lock lock;
  return (Shared().random() & 1) != 0;
}

void Submit(const c10::Stream& stream, Task task, bool late, std::function<bool()> is_ready) {
  const Lock lock;
  Queue& queue = QueueOf(stream);
  queue.tasks.push_back({std::move(task), std::move(is_ready)});
  ++queue.submitted;
  if (!late) return Advance(queue, queue.submitted);
  ProgressAtRandom(stream.device_index());
}

void AfterSubmitted(const std::vector<c10::Stream>& streams, const Task& task) {
  const Lock lock;
  std::vector<Queue*> busy;
  for (const c10::Stream& stream : streams) {
    Queue& queue = QueueOf(stream);
    if (queue.done < queue.submitted) busy.push_back(&queue);
  }
  if (busy.empty()) return task();
  auto left = std::make_shared<size_t>(busy.size());
  for (Queue* queue : busy) {
    queue->tasks.push_back({[left, task] {
      if (--*left == 0) task();
    }, {}});
    ++queue->submitted;
  }
}

void Finish(const c10::Stream& stream) {
  const Lock lock;
  Queue& queue = QueueOf(stream);
  Advance(queue, queue.submitted);
}

void FinishDevice(c10::DeviceIndex device) {
  const Lock lock;
  for (auto& [id, queue] : Shared().queues.at(device)) Advance(queue, queue.submitted);
}

bool IsFinished(const c10::Stream& stream) {
  const Lock lock;
  const Queue& queue = QueueOf(stream);
  return queue.done == queue.submitted;
}

Mark MarkNow(const c10::Stream& stream) {
  const Lock lock;
  return {stream.id(), stream.device_index(), QueueOf(stream).submitted};
}

bool IsReached(const Mark& mark) {
  const Lock lock;
  return QueueOf(mark.device, mark.stream).done >= mark.position;
}

void FinishUntil(const Mark& mark) {
  const Lock lock;
  Advance(QueueOf(mark.device, mark.stream), mark.position);
}

void LetWait(const c10::Stream& stream, const Mark& mark) {
  if (stream.id() == mark.stream && stream.device_index() == mark.device) return;
  if (IsReached(mark)) return;
  Submit(stream, [mark] { FinishUntil(mark); }, true, [mark] { return IsReached(mark); });
}

}  // namespace shardcts::hostdev
