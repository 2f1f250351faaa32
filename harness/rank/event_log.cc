#include "rank/event_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

namespace shardcts {

namespace {

[[noreturn]] void Fail(int error) {
  const std::string text = std::string("event file: ") + std::strerror(error);
  if (error == ENOSPC || error == EDQUOT || error == EIO) throw EventFileFailure(text);
  throw std::runtime_error(text);
}

}  // namespace

EventLog::EventLog(const std::string& path, int rank)
    : descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)), rank_(rank) {
  if (descriptor_ < 0) throw std::runtime_error(path + ": " + std::strerror(errno));
}

EventLog::~EventLog() { close(descriptor_); }

void EventLog::Write(const std::string& event, Json fields) {
  const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  Json line = {{"event", event}, {"rank", rank_}, {"time", now}};
  line.update(fields);
  // Foreign texts may hold bytes that are not UTF-8: they are replaced, never a reason to lose the event.
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t count = write(descriptor_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) Fail(errno);
    done += static_cast<size_t>(count);
  }
}

}  // namespace shardcts
