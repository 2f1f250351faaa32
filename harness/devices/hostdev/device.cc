// What PyTorch asks of a device type that is not its own: allocators, the guard of devices, streams and events, and hooks.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/DeviceType.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <memory>

#include "devices/hostdev/arena.h"
#include "devices/hostdev/streams.h"

namespace shardcts::hostdev {

void ResizeStorage(const c10::Storage& storage, size_t bytes);  // operators.cc

namespace {

constexpr c10::DeviceType kType = c10::DeviceType::PrivateUse1;

class BlockAllocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::DeviceIndex device = CurrentDevice();
    void* data = AllocateBlock(bytes, CurrentStream(device));
    return {data, data, &FreeBlock, c10::Device(kType, device)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &FreeBlock; }
  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    Finish(CurrentStream(DeviceOf(source)));
    std::memcpy(Alias(target), Alias(source), bytes);
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override { EmptyCache(); }
  void recordStream(const c10::DataPtr& data, c10::Stream stream) override { RecordStream(data.get(), stream); }
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex device) override { return Stats(device); }
  void resetAccumulatedStats(c10::DeviceIndex device) override { ResetAccumulated(device); }
  void resetPeakStats(c10::DeviceIndex device) override { ResetPeak(device); }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex device) override { return MemoryInfo(device); }
};

class PinnedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = AllocatePinned(bytes);
    return {data, data, &FreePinned, c10::Device(c10::DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &FreePinned; }
  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    std::memcpy(target, source, bytes);
  }
};

class Guard final : public c10::impl::DeviceGuardImplInterface {
 public:
  c10::DeviceType type() const override { return kType; }
  c10::DeviceIndex deviceCount() const noexcept override { return DeviceCount(); }

  c10::Device getDevice() const override { return {kType, CurrentDevice()}; }
  void setDevice(c10::Device device) const override { SetCurrentDevice(device.index()); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { SetCurrentDevice(device.index()); }
  c10::Device exchangeDevice(c10::Device device) const override {
    const c10::Device before = getDevice();
    SetCurrentDevice(device.index());
    return before;
  }

  c10::Stream getStream(c10::Device device) const override { return CurrentStream(Index(device)); }
  c10::Stream getDefaultStream(c10::Device device) const override { return DefaultStream(Index(device)); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return NewStream(Index(device)); }
  c10::Stream getNewStream(c10::Device device, int) const override { return NewStream(Index(device)); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return ExchangeStream(stream); }
  bool queryStream(const c10::Stream& stream) const override { return Progress(stream); }
  void synchronizeStream(const c10::Stream& stream) const override { Finish(stream); }
  void synchronizeDevice(c10::DeviceIndex device) const override { FinishDevice(device); }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
    RecordStream(data.get(), stream);
  }

  void record(void** event, const c10::Stream& stream, c10::DeviceIndex, c10::EventFlag) const override {
    if (*event == nullptr) *event = new Mark;
    *static_cast<Mark*>(*event) = MarkNow(stream);
  }
  void block(void* event, const c10::Stream& stream) const override {
    if (event != nullptr) LetWait(stream, *static_cast<Mark*>(event));
  }
  // Whoever asks again and again is answered: asking is a time to go on.
  bool queryEvent(void* event) const override {
    if (event == nullptr || IsReached(*static_cast<Mark*>(event))) return true;
    FinishUntil(*static_cast<Mark*>(event));
    return false;
  }
  void synchronizeEvent(void* event) const override {
    if (event != nullptr) FinishUntil(*static_cast<Mark*>(event));
  }
  void destroyEvent(void* event, c10::DeviceIndex) const noexcept override { delete static_cast<Mark*>(event); }
  double elapsedTime(void*, void*, c10::DeviceIndex) const override { return 0; }

 private:
  static c10::DeviceIndex Index(c10::Device device) { return device.has_index() ? device.index() : CurrentDevice(); }
  static bool Progress(const c10::Stream& stream) {
    if (IsFinished(stream)) return true;
    Finish(stream);
    return false;
  }
};

class Hooks final : public at::PrivateUse1HooksInterface {
 public:
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  void init() const override {}
  c10::DeviceIndex deviceCount() const override { return DeviceCount(); }
  void setCurrentDevice(c10::DeviceIndex device) const override { SetCurrentDevice(device); }
  c10::DeviceIndex getCurrentDevice() const override { return CurrentDevice(); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex device) const override {
    const c10::DeviceIndex before = CurrentDevice();
    SetCurrentDevice(device);
    return before;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex device) const override { return exchangeDevice(device); }
  bool isPinnedPtr(const void* data) const override { return IsPinned(data); }
  c10::Allocator* getPinnedMemoryAllocator() const override {
    static PinnedAllocator* allocator = new PinnedAllocator;
    return allocator;
  }
  c10::Device getDeviceFromPtr(void* data) const override { return {kType, DeviceOf(data)}; }
  // One generator for all devices, the CPU's: results have its bits.
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    return at::detail::getDefaultCPUGenerator();
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::detail::createCPUGenerator(); }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    ResizeStorage(storage, bytes);
  }
};

const c10::impl::DeviceGuardImplRegistrar kGuard(kType, new Guard);

struct Registration {
  Registration() {
    c10::register_privateuse1_backend("hostdev");
    static BlockAllocator* allocator = new BlockAllocator;
    c10::SetAllocator(kType, allocator);
    at::RegisterPrivateUse1HooksInterface(new Hooks);
  }
};
const Registration kRegistration;

}  // namespace
}  // namespace shardcts::hostdev
