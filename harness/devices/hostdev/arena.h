// The memory of the emulated devices: one region of host memory that is mapped twice.
//
// Tensors hold addresses of the first mapping, which nothing may read or write: host code that touches device memory ends
// with a segmentation fault. Device code uses the same bytes through the second mapping, its alias. Memory that is given
// out or taken back is filled with the poison pattern, kPoison in every byte: NaN as a floating-point number, -1 as an
// integer.
//
// Blocks are reused by the stream that they were allocated on, as caching allocators do. All functions are *Local*.
#pragma once

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/Stream.h>

#include <cstddef>
#include <cstdint>

namespace shardcts::hostdev {

constexpr unsigned char kPoison = 0xFF;
constexpr int kMostDevices = 64;

// How many devices there are: SHARDCTS_HOSTDEV_DEVICES, 1 to 64; default 8.
c10::DeviceIndex DeviceCount();

// Of one device, in bytes.
constexpr size_t kDeviceBytes = size_t{16} << 30;

// The address of the bytes for device code. Any address that is no device memory is returned as it is.
void* Alias(const void* address);
bool IsDeviceMemory(const void* address);
c10::DeviceIndex DeviceOf(const void* address);

// A block on the stream's device, filled with poison; nullptr for 0 bytes. c10::OutOfMemoryError when the device is full.
void* AllocateBlock(size_t bytes, const c10::Stream& stream);
// The block is poisoned at once, except while a stream that RecordStream named has work that was submitted before.
void FreeBlock(void* address);
// `stream` uses the block beside the one it was allocated on: it is not reused before what is submitted there now is done.
void RecordStream(const void* address, const c10::Stream& stream);

c10::CachingDeviceAllocator::DeviceStats Stats(c10::DeviceIndex device);
void ResetPeak(c10::DeviceIndex device);
void ResetAccumulated(c10::DeviceIndex device);
// Free blocks are no stream's any more, and not reserved.
void EmptyCache();
// Bytes that are free, and in all.
std::pair<size_t, size_t> MemoryInfo(c10::DeviceIndex device);

// Host memory that devices reach by themselves ("pinned").
void* AllocatePinned(size_t bytes);
void FreePinned(void* address);
bool IsPinned(const void* address);

}  // namespace shardcts::hostdev
