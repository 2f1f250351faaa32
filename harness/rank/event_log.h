// EventLog: the append-only event file of a rank (docs/formats.md). *Local*.
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

  // One line, written with a single write(2): after a kill all lines are complete, except perhaps the last one.
  void Write(const std::string& event, Json fields = Json::object());

 private:
  int descriptor_;
  int rank_;
};

}  // namespace shardcts
