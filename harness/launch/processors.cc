#include "launch/processors.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <system_error>

namespace shardcts {
namespace {

std::set<pid_t> ThreadsOf(pid_t process) {
  std::set<pid_t> threads;
  std::error_code ended;
  for (std::filesystem::directory_iterator entry("/proc/" + std::to_string(process) + "/task", ended), end;
       !ended && entry != end; entry.increment(ended)) {
    const std::string name = entry->path().filename();
    pid_t thread = 0;
    std::from_chars(name.data(), name.data() + name.size(), thread);
    threads.insert(thread);
  }
  return threads;
}

}  // namespace

Processors AllowedProcessors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return {};
  Processors processors;
  for (int number = 0; number < CPU_SETSIZE; ++number) {
    if (CPU_ISSET(number, &set)) processors.push_back(number);
  }
  return processors;
}

void BindProcess(pid_t process, const Processors& processors) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int number : processors) CPU_SET(number, &set);
  // A thread that was not bound yet may have started another since the list was made.
  std::set<pid_t> bound;
  for (std::set<pid_t> threads = ThreadsOf(process); !std::ranges::includes(bound, threads);
       threads = ThreadsOf(process)) {
    for (const pid_t thread : threads) ::sched_setaffinity(thread, sizeof set, &set);
    bound.insert(threads.begin(), threads.end());
  }
}

struct ProcessorShares::State {
  const Processors all;
  std::mutex mutex;
  std::set<size_t> taken;  // places
};

ProcessorShares::ProcessorShares(Processors all) : state_(new State{std::move(all), {}, {}}) {}
ProcessorShares::~ProcessorShares() = default;

// In the first place that is free, so that the others keep their parts when one comes after another has gone.
ProcessorShares::Share::Share(ProcessorShares& shares) : shares_(shares), place_(0) {
  const std::lock_guard lock(shares_.state_->mutex);
  while (!shares_.state_->taken.insert(place_).second) ++place_;
}

ProcessorShares::Share::~Share() {
  const std::lock_guard lock(shares_.state_->mutex);
  shares_.state_->taken.erase(place_);
}

Processors ProcessorShares::Share::Now() const {
  State& state = *shares_.state_;
  const std::lock_guard lock(state.mutex);
  const size_t count = state.all.size(), sharers = state.taken.size();
  if (sharers > count) return state.all;
  const auto part = static_cast<size_t>(std::distance(state.taken.begin(), state.taken.find(place_)));
  const auto at = [&](size_t n) { return state.all.begin() + static_cast<std::ptrdiff_t>(n * count / sharers); };
  return {at(part), at(part + 1)};
}

}  // namespace shardcts
