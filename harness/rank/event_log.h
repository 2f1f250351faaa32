// EventLog: the append-only event file of a rank (docs/formats.md). *Local*.
#pragma once

#include <stdexcept>
#include <string>

#include "contract/json_codec.h"

namespace shardcts {

// The disk does not take the line. Any other error of writing (the file was closed under our feet) is none.
class EventFileFailure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class EventLog {
 public:
  // Throws std::runtime_error when the file cannot be opened.
  EventLog(const std::string& path, int rank);
  ~EventLog();
  EventLog(const EventLog&) = delete;
  EventLog& operator=(const EventLog&) = delete;

  // One line, written with a single write(2): after a kill all lines are complete, except perhaps the last one.
  // Throws EventFileFailure, or std::runtime_error.
  void Write(const std::string& event, Json fields = Json::object());

 private:
  int descriptor_;
  int rank_;
};

}  // namespace shardcts
