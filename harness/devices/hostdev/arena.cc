#include "devices/hostdev/arena.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "devices/hostdev/streams.h"

namespace shardcts::hostdev {
namespace {

constexpr int kDefaultDevices = 8;
constexpr size_t kGranularity = 512;

struct Mapping {
  char* guarded = nullptr;  // what tensors hold
  char* alias = nullptr;    // the same bytes, open
  size_t bytes = 0;
};

Mapping MapTwice() {
  Mapping mapping;
  mapping.bytes = kDeviceBytes * static_cast<size_t>(DeviceCount());
  const int file = memfd_create("shardcts-hostdev", MFD_CLOEXEC);
  TORCH_CHECK(file >= 0 && ftruncate(file, static_cast<off_t>(mapping.bytes)) == 0, "hostdev: no memory for devices");
  const auto map = [&](int protection) {
    void* address = mmap(nullptr, mapping.bytes, protection, MAP_SHARED | MAP_NORESERVE, file, 0);
    TORCH_CHECK(address != MAP_FAILED, "hostdev: memory for devices cannot be mapped");
    return static_cast<char*>(address);
  };
  mapping.guarded = map(PROT_NONE);
  mapping.alias = map(PROT_READ | PROT_WRITE);
  close(file);
  return mapping;
}

const Mapping& Memory() {
  static const Mapping mapping = MapTwice();
  return mapping;
}

struct Block {
  size_t bytes = 0;      // rounded
  size_t requested = 0;  // as asked for
  c10::StreamId stream = 0;
  std::vector<c10::Stream> also_used_by;
};

using AllStats = c10::CachingDeviceAllocator::DeviceStats;

struct DeviceMemory {
  size_t used = 0;                                               // bytes from the beginning that were ever given out
  std::map<std::pair<c10::StreamId, size_t>, std::vector<size_t>> free;  // (stream, size) -> offsets
  std::map<size_t, std::vector<size_t>> released;  // size -> offsets, of no stream
  AllStats stats;
};

struct Arena {
  std::mutex mutex;
  std::array<DeviceMemory, kMostDevices> devices;
  std::map<const char*, Block> blocks;      // by address
  std::map<const char*, size_t> pinned;     // by address
};

Arena& TheArena() {
  static Arena* arena = new Arena;  // outlives what is freed at the end of the process
  return *arena;
}

size_t Rounded(size_t bytes) {
  if (bytes > (size_t{1} << 20)) return (bytes + kGranularity - 1) / kGranularity * kGranularity;
  size_t rounded = kGranularity;  // small blocks of few sizes are found again
  while (rounded < bytes) rounded *= 2;
  return rounded;
}

constexpr size_t kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);

void Count(DeviceMemory& device, const Block& block, bool allocated) {
  const auto change = [&](c10::CachingAllocator::StatArray& stat, size_t amount) {
    allocated ? stat[kAll].increase(amount) : stat[kAll].decrease(amount);
  };
  change(device.stats.allocation, 1);
  change(device.stats.active, 1);
  change(device.stats.allocated_bytes, block.bytes);
  change(device.stats.active_bytes, block.bytes);
  change(device.stats.requested_bytes, block.requested);
}

// Where the block begins, from the device's first byte.
size_t TakeOffset(DeviceMemory& device, c10::StreamId stream, size_t bytes) {
  std::vector<size_t>& free = device.free[{stream, bytes}];
  if (!free.empty()) {
    const size_t offset = free.back();
    free.pop_back();
    return offset;
  }
  if (const auto found = device.released.find(bytes); found != device.released.end() && !found->second.empty()) {
    const size_t offset = found->second.back();
    found->second.pop_back();
    device.stats.reserved_bytes[kAll].increase(bytes);
    return offset;
  }
  TORCH_CHECK_WITH(OutOfMemoryError, device.used + bytes <= kDeviceBytes, "hostdev (emulator) out of memory: ", bytes,
                   " bytes asked for, ", kDeviceBytes - device.used, " are free");
  const size_t offset = device.used;
  device.used += bytes;
  device.stats.reserved_bytes[kAll].increase(bytes);
  return offset;
}

void GiveBack(char* address, const Block& block) {
  std::memset(Alias(address), kPoison, block.bytes);
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  const c10::DeviceIndex index = DeviceOf(address);
  DeviceMemory& device = arena.devices[index];
  const size_t offset = static_cast<size_t>(address - Memory().guarded) - kDeviceBytes * static_cast<size_t>(index);
  device.free[{block.stream, block.bytes}].push_back(offset);
  Count(device, block, false);
}

}  // namespace

c10::DeviceIndex DeviceCount() {
  static const int count = [] {
    const char* text = std::getenv("SHARDCTS_HOSTDEV_DEVICES");
    if (text == nullptr || *text == '\0') return kDefaultDevices;
    const int number = std::atoi(text);
    TORCH_CHECK(number >= 1 && number <= kMostDevices, "SHARDCTS_HOSTDEV_DEVICES=", text, ": 1 to ", kMostDevices);
    return number;
  }();
  return static_cast<c10::DeviceIndex>(count);
}

bool IsDeviceMemory(const void* address) {
  const char* at = static_cast<const char*>(address);
  return at >= Memory().guarded && at < Memory().guarded + Memory().bytes;
}

void* Alias(const void* address) {
  char* at = static_cast<char*>(const_cast<void*>(address));
  return IsDeviceMemory(address) ? Memory().alias + (at - Memory().guarded) : at;
}

c10::DeviceIndex DeviceOf(const void* address) {
  return static_cast<c10::DeviceIndex>(static_cast<size_t>(static_cast<const char*>(address) - Memory().guarded) /
                                       kDeviceBytes);
}

void* AllocateBlock(size_t bytes, const c10::Stream& stream) {
  if (bytes == 0) return nullptr;
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  const c10::DeviceIndex index = stream.device_index();
  DeviceMemory& device = arena.devices[index];
  const Block block{Rounded(bytes), bytes, stream.id(), {}};
  char* address =
      Memory().guarded + kDeviceBytes * static_cast<size_t>(index) + TakeOffset(device, block.stream, block.bytes);
  arena.blocks[address] = block;
  Count(device, block, true);
  std::memset(Alias(address), kPoison, block.bytes);
  return address;
}

void FreeBlock(void* address) {
  if (address == nullptr) return;
  Arena& arena = TheArena();
  std::unique_lock<std::mutex> lock(arena.mutex);
  const auto found = arena.blocks.find(static_cast<char*>(address));
  TORCH_INTERNAL_ASSERT(found != arena.blocks.end(), "hostdev: memory is freed that was not allocated");
  const Block block = std::move(found->second);
  arena.blocks.erase(found);
  lock.unlock();
  AfterSubmitted(block.also_used_by, [address, block] { GiveBack(static_cast<char*>(address), block); });
}

void RecordStream(const void* address, const c10::Stream& stream) {
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  const auto found = arena.blocks.find(static_cast<const char*>(address));
  if (found == arena.blocks.end() || found->second.stream == stream.id()) return;
  found->second.also_used_by.push_back(stream);
}

AllStats Stats(c10::DeviceIndex device) {
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  return arena.devices.at(device).stats;
}

void ResetPeak(c10::DeviceIndex device) {
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  AllStats& stats = arena.devices.at(device).stats;
  for (auto* stat : {&stats.allocation, &stats.active, &stats.allocated_bytes, &stats.reserved_bytes,
                     &stats.active_bytes, &stats.requested_bytes}) {
    (*stat)[kAll].reset_peak();
  }
}

void ResetAccumulated(c10::DeviceIndex device) {
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  AllStats& stats = arena.devices.at(device).stats;
  for (auto* stat : {&stats.allocation, &stats.active, &stats.allocated_bytes, &stats.reserved_bytes,
                     &stats.active_bytes, &stats.requested_bytes}) {
    (*stat)[kAll].reset_accumulated();
  }
}

void EmptyCache() {
  for (c10::DeviceIndex device = 0; device < DeviceCount(); ++device) FinishDevice(device);
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  for (DeviceMemory& device : arena.devices) {
    for (auto& [key, offsets] : device.free) {
      std::vector<size_t>& released = device.released[key.second];
      released.insert(released.end(), offsets.begin(), offsets.end());
      device.stats.reserved_bytes[kAll].decrease(key.second * offsets.size());
    }
    device.free.clear();
  }
}

std::pair<size_t, size_t> MemoryInfo(c10::DeviceIndex device) {
  const size_t used = static_cast<size_t>(Stats(device).allocated_bytes[kAll].current);
  return {kDeviceBytes - used, kDeviceBytes};
}

void* AllocatePinned(size_t bytes) {
  if (bytes == 0) return nullptr;
  void* address = std::aligned_alloc(64, (bytes + 63) / 64 * 64);
  TORCH_CHECK(address != nullptr, "hostdev: no pinned memory");
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  arena.pinned[static_cast<char*>(address)] = bytes;
  return address;
}

void FreePinned(void* address) {
  if (address == nullptr) return;
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  arena.pinned.erase(static_cast<char*>(address));
  std::free(address);
}

bool IsPinned(const void* address) {
  Arena& arena = TheArena();
  const std::lock_guard<std::mutex> lock(arena.mutex);
  auto after = arena.pinned.upper_bound(static_cast<const char*>(address));
  if (after == arena.pinned.begin()) return false;
  const auto& [begin, bytes] = *std::prev(after);
  return static_cast<const char*>(address) < begin + bytes;
}

}  // namespace shardcts::hostdev
