#include "process/processors.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <system_error>

namespace shardcts {
namespace {

// A thread that is not bound yet may start another while the list of them is made.
constexpr int kMostLooks = 10;

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
  std::set<pid_t> bound;
  for (int look = 0; look < kMostLooks; ++look) {
    const std::set<pid_t> threads = ThreadsOf(process);
    if (std::ranges::includes(bound, threads)) return;
    for (const pid_t thread : threads) ::sched_setaffinity(thread, sizeof set, &set);
    bound.insert(threads.begin(), threads.end());
  }
}

// In the first free slot, so that the others keep their parts when one ends and another begins.
ProcessorShares::Share::Share(ProcessorShares& shares) : shares_(shares), place_(0) {
  const std::lock_guard lock(shares_.mutex_);
  while (!shares_.taken_.insert(place_).second) ++place_;
}

ProcessorShares::Share::~Share() {
  const std::lock_guard lock(shares_.mutex_);
  shares_.taken_.erase(place_);
}

Processors ProcessorShares::Share::Now() const {
  const std::lock_guard lock(shares_.mutex_);
  const Processors& all = shares_.all_;
  const size_t sharers = shares_.taken_.size();
  if (sharers > all.size()) return all;
  const auto part = static_cast<size_t>(std::distance(shares_.taken_.begin(), shares_.taken_.find(place_)));
  const auto at = [&](size_t n) { return all.begin() + static_cast<std::ptrdiff_t>(n * all.size() / sharers); };
  return {at(part), at(part + 1)};
}

}  // namespace shardcts
