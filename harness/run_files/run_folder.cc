#include "run_files/run_folder.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "run_files/foreign_text.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestName = 150;
constexpr size_t kHashDigits = 16;

std::string Fnv1aHex(const std::string& text) {
  uint64_t hash = 14695981039346656037ull;
  for (unsigned char c : text) hash = (hash ^ c) * 1099511628211ull;
  std::string hex(kHashDigits, '0');
  for (size_t i = kHashDigits; i-- > 0; hash >>= 4) hex[i] = "0123456789abcdef"[hash & 15];
  return hex;
}

[[noreturn]] void FailWith(const fs::path& file, const std::string& what) {
  throw InputError(file.string() + ": " + what + ": " + std::strerror(errno));
}

// False with errno.
bool WriteAll(int descriptor, const std::string& text) {
  size_t done = 0;
  while (done < text.size()) {
    const ssize_t written = ::write(descriptor, text.data() + done, text.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    done += static_cast<size_t>(written);
  }
  return ::fsync(descriptor) == 0;
}

// Whether the file is one that a run has written: other programs have files of this name, too, and folders like ours.
bool HoldsResults(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return false;
  std::string begin(4096, '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  return begin.find("\"complete\"") != begin.npos;
}

}  // namespace

std::string FolderName(const std::string& text) {
  std::string name;
  for (char c : text) {
    const bool kept = std::isalnum(static_cast<unsigned char>(c)) || std::strchr("._=+-", c) != nullptr;
    name += kept && c != '\0' ? c : '_';
  }
  if (name.empty() || name == "." || name == "..") return std::string(name.size() + 1, '_');
  if (name.size() <= kLongestName) return name;
  return name.substr(0, kLongestName - kHashDigits - 1) + "_" + Fnv1aHex(text);
}

fs::path PoolFolder(const fs::path& run_folder, const std::string& label, int world_size, int pool) {
  return run_folder / "runs" / FolderName(label) / ("world-" + std::to_string(world_size)) /
         ("pool-" + std::to_string(pool));
}

fs::path TraceFolder(const fs::path& run_folder, const std::string& label) {
  return run_folder / "traces" / FolderName(label);
}

fs::path EventFile(const fs::path& pool_folder, int rank) {
  return pool_folder / ("rank-" + std::to_string(rank) + ".events.jsonl");
}

fs::path RankLog(const fs::path& pool_folder, int rank) {
  return pool_folder / ("rank-" + std::to_string(rank) + ".log");
}

fs::path TestTraces(const fs::path& trace_folder, const std::string& test) { return trace_folder / FolderName(test); }

fs::path PhaseTraces(const fs::path& test_traces, size_t phase) {
  return test_traces / ("phase-" + std::to_string(phase + 1));
}

fs::path RankTrace(const fs::path& traces, int rank) { return traces / ("rank-" + std::to_string(rank) + ".jsonl"); }

fs::path TestFiles(const fs::path& pool_folder, const std::string& recording) {
  return pool_folder / "files" / FolderName(recording);
}

fs::path BlobFolder(const fs::path& run_folder) { return run_folder / "blobs"; }

FolderLock PrepareRunFolder(const fs::path& folder) {
  if (!IsUtf8(fs::absolute(folder).string())) throw InputError("--out: the path of the run folder is not UTF-8");
  std::error_code error;
  fs::create_directories(folder, error);
  if (error || !fs::is_directory(folder)) {
    throw InputError(folder.string() + ": cannot be made a folder: " + (error ? error.message() : "it is a file"));
  }
  const bool empty = std::ranges::all_of(
      fs::directory_iterator(folder), [](const fs::directory_entry& entry) { return entry.path().filename() == "run.lock"; });
  if (!empty && !HoldsResults(folder / "results.json")) {
    throw InputError(folder.string() + ": is not empty and holds no earlier run; give another folder with --out");
  }
  FolderLock lock(folder);
  for (const char* name : {"results.json", "results.json.tmp", "runs", "traces", "blobs", "storage"}) {
    fs::remove_all(folder / name, error);
    if (error) throw InputError((folder / name).string() + ": cannot be removed: " + error.message());
  }
  WriteFileAtomically(folder / "results.json", "{\"complete\": false}\n");
  return lock;
}

void WriteFileAtomically(const fs::path& file, const std::string& text, unsigned mode) {
  const fs::path temporary = file.string() + ".tmp";
  const int descriptor = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (descriptor < 0) FailWith(temporary, "cannot be written");
  const bool written = WriteAll(descriptor, text);
  const int error = errno;
  ::close(descriptor);
  if (!written) {
    ::unlink(temporary.c_str());  // a full disk needs the space
    errno = error;
    FailWith(temporary, "cannot be written");
  }
  if (::rename(temporary.c_str(), file.c_str()) != 0) FailWith(file, "cannot be replaced");
}

}  // namespace shardcts
