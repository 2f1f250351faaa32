#include "run_files/file_text.h"

#include <fstream>
#include <sstream>

namespace shardcts {

std::string FileText(const std::filesystem::path& file, uintmax_t begin) {
  std::ifstream stream(file, std::ios::binary);
  stream.seekg(static_cast<std::streamoff>(begin));
  std::ostringstream text;
  text << stream.rdbuf();  // an iterator over the stream would throw when the process ends
  return text.str();
}

}  // namespace shardcts
