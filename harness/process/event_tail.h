// EventTail: reads a file of JSON lines while another process appends to it. *Local*.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace shardcts {

inline constexpr size_t kMaxEventBytes = size_t{64} << 20;  // of one line

class EventTail {
 public:
  explicit EventTail(std::filesystem::path file) : file_(std::move(file)) {}
  ~EventTail();
  EventTail(EventTail&& other) noexcept;
  EventTail& operator=(EventTail&&) = delete;

  // The complete lines that were appended since the last call, without their newline. A file that is not there yet
  // has none; a last line without newline waits for its end. One of more than kMaxEventBytes is given as its first bytes.
  std::vector<std::string> ReadLines();

 private:
  std::filesystem::path file_;
  int descriptor_ = -1;
  std::string partial_;
};

// The last line of a text file that is not blank, shortened to 300 bytes; empty when there is none.
std::string LastLine(const std::filesystem::path& file);

}  // namespace shardcts
