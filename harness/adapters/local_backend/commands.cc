#include "adapters/local_backend/commands.h"

#include <c10/util/Exception.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace shardcts::local_backend {
namespace {

std::string Variable(const char* name) {
  const char* text = std::getenv(name);
  return text == nullptr ? "" : text;
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.size() < 19 && text.find_first_not_of("0123456789") == std::string::npos;
}

// Which collective of this rank; 0: none.
uint64_t NumberFor(const char* variable, int rank) {
  const std::string value = Variable(variable);
  if (value.empty()) return 0;
  const size_t colon = value.find(':');
  const bool is_pair =
      colon != std::string::npos && IsNumber(value.substr(0, colon)) && IsNumber(value.substr(colon + 1));
  TORCH_CHECK(is_pair, variable, "=", value, ": not RANK:N");
  return std::stoull(value.substr(0, colon)) == static_cast<uint64_t>(rank) ? std::stoull(value.substr(colon + 1)) : 0;
}

}  // namespace

TransportDelay& Delay(int rank) {
  static TransportDelay* const delay = [rank] {
    const std::string value = Variable("SHARDCTS_LOCAL_LATE");
    TORCH_CHECK(value.empty() || IsNumber(value), "SHARDCTS_LOCAL_LATE=", value, ": not a seed");
    auto* made = new TransportDelay;
    if (!value.empty()) made->Set(std::stoull(value) + static_cast<uint64_t>(rank));
    return made;
  }();
  return *delay;
}

Command NextCommand(int rank) {
  static const uint64_t fails = NumberFor("SHARDCTS_LOCAL_FAIL", rank);
  static const uint64_t aborts = NumberFor("SHARDCTS_LOCAL_ABORT", rank);
  static std::atomic<uint64_t> collectives{0};
  const uint64_t number = ++collectives;
  if (number == fails) return Command::kFail;
  return number == aborts ? Command::kAbort : Command::kNone;
}

}  // namespace shardcts::local_backend
