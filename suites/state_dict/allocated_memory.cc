#include "suites/state_dict/allocated_memory.h"

#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <c10/core/Allocator.h>
#include <c10/core/CachingDeviceAllocator.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace shardcts::state_dict {
namespace {

// Of one call; memory that outlives the call keeps it alive.
class ByteBudget {
 public:
  explicit ByteBudget(const AllocatedBytes& limits) : limits_(limits) {}

  void Take(int64_t bytes) {
    std::unique_lock lock(mutex_);
    WaitUntilAtMost(limits_.peak - bytes, lock);
    now_.left += bytes;
    now_.peak = std::max(now_.peak, now_.left);
  }
  void GiveBack(int64_t bytes) {
    const std::lock_guard lock(mutex_);
    now_.left -= bytes;
    freed_.notify_all();
  }
  AllocatedBytes AtEnd() {
    std::unique_lock lock(mutex_);
    WaitUntilAtMost(limits_.left, lock);
    return now_;
  }

 private:
  void WaitUntilAtMost(int64_t bytes, std::unique_lock<std::mutex>& lock) {
    if (!freed_.wait_for(lock, patience_, [&] { return now_.left <= bytes; })) patience_ = {};
  }

  const AllocatedBytes limits_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::chrono::milliseconds patience_{5000};
  AllocatedBytes now_;
};

// Of the call on this thread; none outside of it.
thread_local std::shared_ptr<ByteBudget> budget_of_thread;

struct BudgetScope {
  explicit BudgetScope(std::shared_ptr<ByteBudget> budget) { budget_of_thread = std::move(budget); }
  ~BudgetScope() { budget_of_thread.reset(); }
};

struct CountedMemory {
  at::DataPtr memory;
  int64_t bytes;
  std::shared_ptr<ByteBudget> budget;
};

void DeleteCountedMemory(void* context) {
  const std::unique_ptr<CountedMemory> counted(static_cast<CountedMemory*>(context));
  counted->memory.clear();
  counted->budget->GiveBack(counted->bytes);
}

// LibTorch's own allocator provides all memory; allocations of a thread that is being measured are counted.
class CountingAllocator final : public c10::Allocator {
 public:
  explicit CountingAllocator(c10::Allocator* own) : own_(own) {}

  at::DataPtr allocate(size_t bytes) override {
    if (!budget_of_thread) return own_->allocate(bytes);
    auto counted = std::make_unique<CountedMemory>(at::DataPtr(), static_cast<int64_t>(bytes), budget_of_thread);
    counted->budget->Take(counted->bytes);
    counted->memory = own_->allocate(bytes);
    void* const data = counted->memory.get();
    const at::Device device = counted->memory.device();
    return {data, counted.release(), &DeleteCountedMemory, device};
  }
  at::DeleterFnPtr raw_deleter() const override { return own_->raw_deleter(); }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { own_->copy_data(to, from, bytes); }

 private:
  c10::Allocator* own_;
};

// Installed until the process ends, because storages refer to their allocator.
void InstallCountingAllocator() {
  static std::once_flag once;
  std::call_once(once, [] { c10::SetAllocator(at::kCPU, new CountingAllocator(c10::GetAllocator(at::kCPU))); });
}

}  // namespace

AllocatedBytes CountAllocatedBytes(const AllocatedBytes& limits, const std::function<void()>& body) {
  InstallCountingAllocator();
  const auto budget = std::make_shared<ByteBudget>(limits);
  {
    const BudgetScope scope(budget);
    body();
  }
  return budget->AtEnd();
}

std::optional<DeviceBytes> CountDeviceBytes(const std::string& device_type, const std::function<void()>& body) {
  const auto accelerator = at::accelerator::getAccelerator();
  if (!accelerator || c10::DeviceTypeName(*accelerator, true) != device_type) return std::nullopt;
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(*accelerator));
  if (allocator == nullptr || !allocator->initialized()) return std::nullopt;
  constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
  const c10::DeviceIndex device = at::accelerator::getDeviceIndex();
  at::accelerator::synchronizeDevice(device);
  allocator->emptyCache();
  allocator->resetPeakStats(device);
  const c10::CachingDeviceAllocator::DeviceStats before = allocator->getDeviceStats(device);
  body();
  at::accelerator::synchronizeDevice(device);
  const c10::CachingDeviceAllocator::DeviceStats after = allocator->getDeviceStats(device);
  const int64_t begin = before.allocated_bytes[kAll].current;
  return DeviceBytes{after.allocated_bytes[kAll].current - begin, after.allocated_bytes[kAll].peak - begin};
}

}  // namespace shardcts::state_dict
