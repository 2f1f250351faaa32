#include "comm/emulator/fault.h"

#include <atomic>
#include <charconv>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>

namespace shardcts::nccl_emulator {
namespace {

struct Wanted {
  std::string kind;
  int rank = -1;  // -1: every rank
  int call = -1;  // -1: every call
};

[[noreturn]] void Refuse(std::string_view text) {
  throw std::invalid_argument("SHARDCTS_NCCL_EMULATOR_FAULT=" + std::string(text) + " is not KIND[@RANK[:CALL]]");
}

int Number(std::string_view digits, std::string_view text) {
  int number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || number < 0) Refuse(text);
  return number;
}

Wanted ReadEnvironment() {
  Wanted wanted;
  const char* value = std::getenv("SHARDCTS_NCCL_EMULATOR_FAULT");
  if (value == nullptr || *value == '\0') return wanted;
  const std::string_view text = value;
  const size_t at = text.find('@');
  wanted.kind = text.substr(0, at);
  if (wanted.kind != "sync_error" && wanted.kind != "async_error" && wanted.kind != "stall" && wanted.kind != "absent")
    Refuse(text);
  if (at == text.npos) return wanted;
  const std::string_view place = text.substr(at + 1);
  const size_t colon = place.find(':');
  wanted.rank = Number(place.substr(0, colon), text);
  if (colon != place.npos) wanted.call = Number(place.substr(colon + 1), text);
  return wanted;
}

}  // namespace

Fault FaultOfCall(int world_rank) {
  static std::atomic<int> calls{0};
  const int call = calls++;
  const Wanted wanted = ReadEnvironment();
  if (wanted.rank >= 0 && wanted.rank != world_rank) return Fault::kNone;
  if (wanted.call >= 0 && wanted.call != call) return Fault::kNone;
  if (wanted.kind == "sync_error") return Fault::kSyncError;
  if (wanted.kind == "async_error") return Fault::kAsyncError;
  if (wanted.kind == "stall") return Fault::kStall;
  return Fault::kNone;
}

Fault FaultOfInit(int world_rank) {
  const Wanted wanted = ReadEnvironment();
  const bool here = wanted.rank < 0 || wanted.rank == world_rank;
  return wanted.kind == "absent" && here ? Fault::kStall : Fault::kNone;
}

}  // namespace shardcts::nccl_emulator
