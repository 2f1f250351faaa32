#include "recording/zip_archive.h"

#include <zip.h>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr time_t kNoTime = 315532800;  // 1980-01-01, the first that a zip can say

[[noreturn]] void Fail(const std::filesystem::path& file, const std::string& problem) {
  throw InputError(file.string() + ": " + problem);
}

zip* Open(const std::filesystem::path& file, int flags) {
  int code = 0;
  zip* archive = zip_open(file.c_str(), flags, &code);
  if (archive) return archive;
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  const std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  Fail(file, text);
}

}  // namespace

ZipReader::ZipReader(const std::filesystem::path& file)
    : file_(file), archive_(Open(file, ZIP_RDONLY | ZIP_CHECKCONS), zip_discard) {
  const zip_int64_t count = zip_get_num_entries(archive_.get(), 0);
  if (count < 0 || static_cast<size_t>(count) > kMaxEntries) Fail(file, "too many entries");
  size_t total = 0;
  for (zip_int64_t index = 0; index < count; ++index) {
    zip_stat_t stat;
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE;
    if (zip_stat_index(archive_.get(), static_cast<zip_uint64_t>(index), 0, &stat) != 0 ||
        (stat.valid & kNeeded) != kNeeded) {
      Fail(file, "an entry without name or size");
    }
    if (stat.size > kMaxBytes - total) Fail(file, "larger than " + std::to_string(kMaxBytes) + " bytes when unpacked");
    total += stat.size;
    if (!sizes_.emplace(stat.name, stat.size).second) Fail(file, "an entry stands twice");
  }
}

ZipReader::~ZipReader() = default;

std::optional<std::string> ZipReader::Read(const std::string& name, size_t most) const {
  const auto found = sizes_.find(name);
  if (found == sizes_.end()) return std::nullopt;
  const auto fail = [&](const std::string& problem) { Fail(file_, name + ": " + problem); };
  if (found->second > most) fail("larger than " + std::to_string(most) + " bytes");
  zip_file_t* entry = zip_fopen(archive_.get(), name.c_str(), 0);
  if (!entry) fail(zip_strerror(archive_.get()));
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> closed(entry, zip_fclose);
  std::string bytes(found->second + 1, '\0');  // one more: the end, where libzip checks the sum, must be met
  size_t done = 0;
  while (done < bytes.size()) {
    const zip_int64_t read = zip_fread(entry, bytes.data() + done, bytes.size() - done);
    if (read < 0) fail(zip_file_strerror(entry));
    if (read == 0) break;
    done += static_cast<size_t>(read);
  }
  if (done != found->second) fail("another size than the archive says");
  bytes.resize(done);
  return bytes;
}

ZipWriter::ZipWriter(const std::filesystem::path& file)
    : file_(file), archive_(Open(file, ZIP_CREATE | ZIP_TRUNCATE), zip_discard) {}

ZipWriter::~ZipWriter() = default;

void ZipWriter::Add(const std::string& name, std::string bytes) {
  const std::string& kept = entries_[name] = std::move(bytes);
  zip_source_t* source = zip_source_buffer(archive_.get(), kept.data(), kept.size(), 0);
  const zip_int64_t index = source ? zip_file_add(archive_.get(), name.c_str(), source, ZIP_FL_ENC_UTF_8) : -1;
  if (index < 0) {
    zip_source_free(source);
    Fail(file_, zip_strerror(archive_.get()));
  }
  zip_file_set_mtime(archive_.get(), static_cast<zip_uint64_t>(index), kNoTime, 0);
}

void ZipWriter::Close() {
  if (zip_close(archive_.get()) != 0) Fail(file_, zip_strerror(archive_.get()));
  (void)archive_.release();  // zip_close has freed it
}

}  // namespace shardcts
