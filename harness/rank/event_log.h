// EventLog: the append-only file in which a rank says what it does (docs/formats.md). *Local*.
#pragma once

#include <string>

#include "contract/json_codec.h"

namespace shardcts {

class EventLog {
 public:
  // Throws std::runtime_error when the file cannot be opened.
  EventLog(const std::string& path, int rank);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // One line, written with a single write(2): a kill leaves whole lines and at most one torn one.
  void Write(const std::string& event, Json fields = Json::object());

 private:
  int descriptor_;
  int rank_;
};

}  // namespace shardcts
