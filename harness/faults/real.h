// The functions that stand behind this library's: libc's. *Local*.
#pragma once

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace shardcts::faults {

// `name` must be a literal, `Function` its type.
#define SHARDCTS_REAL(name)                                                                           \
  ([] {                                                                                               \
    static std::atomic<void*> found{nullptr};                                                         \
    void* address = found.load(std::memory_order_relaxed);                                            \
    if (address == nullptr) found.store(address = ::dlsym(RTLD_NEXT, #name), std::memory_order_relaxed); \
    return reinterpret_cast<decltype(&::name)>(address);                                              \
  }())

// The kernel, past every hook.
template <class... Arguments>
long Kernel(long number, Arguments... arguments) {
  static const auto real = reinterpret_cast<long (*)(long, ...)>(::dlsym(RTLD_NEXT, "syscall"));
  return real(number, arguments...);
}

}  // namespace shardcts::faults
