#include "process/event_tail.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "run_files/file_text.h"
#include "run_files/foreign_text.h"

namespace shardcts {

constexpr size_t kShownBytes = 500;

EventTail::~EventTail() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

EventTail::EventTail(EventTail&& other) noexcept
    : file_(std::move(other.file_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      partial_(std::move(other.partial_)) {}

std::vector<std::string> EventTail::ReadLines() {
  std::vector<std::string> lines;
  if (descriptor_ < 0) descriptor_ = OpenRegularFile(file_, O_RDONLY);
  if (descriptor_ < 0) return lines;
  char buffer[1 << 16];
  for (ssize_t got = 0; (got = ::read(descriptor_, buffer, sizeof(buffer))) > 0;) {
    const size_t searched = partial_.size();
    partial_.append(buffer, static_cast<size_t>(got));
    size_t begin = 0;
    for (size_t end = partial_.find('\n', searched); end != partial_.npos; end = partial_.find('\n', begin)) {
      lines.push_back(partial_.substr(begin, end - begin));
      begin = end + 1;
    }
    partial_.erase(0, begin);
    if (partial_.size() > kMaxEventBytes) {
      lines.push_back(partial_.substr(0, kShownBytes));
      partial_.clear();
    }
  }
  return lines;
}

std::string LastLine(const std::filesystem::path& file) {
  constexpr uintmax_t kTailBytes = 4096;
  constexpr size_t kLongest = 300;
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(file, error);
  if (error) return "";
  std::string text = FileText(file, size - std::min(size, kTailBytes));
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  const size_t begin = text.rfind('\n');
  return Beginning(text.substr(begin == text.npos ? 0 : begin + 1), kLongest);
}

}  // namespace shardcts
