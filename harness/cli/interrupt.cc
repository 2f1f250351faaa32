#include "cli/interrupt.h"

#include <signal.h>

namespace shardcts {
namespace {

std::atomic<bool> g_interrupted = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");

void Interrupt(int) { g_interrupted = true; }

}  // namespace

const std::atomic<bool>& InterruptFlag() {
  struct sigaction action {};
  action.sa_handler = Interrupt;
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
  return g_interrupted;
}

}  // namespace shardcts
