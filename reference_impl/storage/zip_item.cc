#include "storage/zip_item.h"

#include <algorithm>
#include <vector>

#include "storage/crc32.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {
namespace {

constexpr int64_t kEndBytes = 22, kLocatorBytes = 20, kEnd64Bytes = 56, kEntryBytes = 46, kHeaderBytes = 30;
constexpr uint64_t kEndSignature = 0x06054b50, kLocatorSignature = 0x07064b50, kEnd64Signature = 0x06064b50,
                   kEntrySignature = 0x02014b50, kHeaderSignature = 0x04034b50;
constexpr uint64_t kElsewhere = 0xffffffff;  // the number is in the extra field
constexpr int64_t kMaxDirectoryBytes = int64_t{1} << 20;
constexpr int64_t kWindow = 4096;  // bytes at both ends of an item that are read at once

[[noreturn]] void FailAt(const std::string& where, const std::string& problem) {
  throw SemanticError("RuntimeError", where + ": no archive of torch.save: " + problem);
}

// Little-endian numbers in a text.
class Fields {
 public:
  Fields(std::string_view bytes, const std::string& where) : bytes_(bytes), where_(where) {}
  uint64_t Number(size_t bytes) {
    const std::string_view taken = Take(bytes);
    uint64_t number = 0;
    for (size_t i = 0; i < bytes; ++i) number |= uint64_t{static_cast<uint8_t>(taken[i])} << (8 * i);
    return number;
  }
  std::string_view Take(uint64_t count) {
    if (count > bytes_.size()) FailAt(where_, "a field leaves its record");
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  void Skip(size_t count) { Take(count); }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  const std::string& where_;
};

// The item's bytes, whose two ends are read once.
class ItemBytes {
 public:
  ItemBytes(const ReadableFile& file, FileRange range, const std::string& where)
      : file_(file), range_(range), where_(where) {
    if (range.begin < 0 || range.end < range.begin || range.end > file.size()) FailAt(where, "it leaves its file");
    head_.resize(static_cast<size_t>(std::min(range.size(), kWindow)));
    tail_.resize(static_cast<size_t>(std::min(range.size() - static_cast<int64_t>(head_.size()), kWindow)));
    file.ReadAt(range.begin, head_);
    file.ReadAt(range.end - static_cast<int64_t>(tail_.size()), tail_);
  }
  int64_t size() const { return range_.size(); }
  // From `begin` on, counted from the item's beginning.
  std::string Read(int64_t begin, int64_t count) const {
    if (begin < 0 || count < 0 || begin > size() || count > size() - begin) FailAt(where_, "a record leaves it");
    const int64_t head = static_cast<int64_t>(head_.size()), tail_begin = size() - static_cast<int64_t>(tail_.size());
    if (begin + count <= head) return head_.substr(static_cast<size_t>(begin), static_cast<size_t>(count));
    if (begin >= tail_begin) return tail_.substr(static_cast<size_t>(begin - tail_begin), static_cast<size_t>(count));
    std::string bytes(static_cast<size_t>(count), '\0');
    file_.ReadAt(range_.begin + begin, bytes);
    return bytes;
  }

 private:
  const ReadableFile& file_;
  const FileRange range_;
  const std::string& where_;
  std::string head_, tail_;
};

struct Directory {
  uint64_t members = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

Directory FindDirectory(const ItemBytes& item, const std::string& where) {
  if (item.size() < kEndBytes) FailAt(where, "it is too short");
  const std::string record = item.Read(item.size() - kEndBytes, kEndBytes);
  Fields end(record, where);
  if (end.Number(4) != kEndSignature) FailAt(where, "it has no end record");
  end.Skip(6);
  uint64_t members = end.Number(2), size = end.Number(4), begin = end.Number(4);
  if (end.Number(2) != 0) FailAt(where, "it has a comment");
  const int64_t locator_at = item.size() - kEndBytes - kLocatorBytes;
  int64_t last = item.size() - kEndBytes;
  if (locator_at >= kEnd64Bytes) {
    const std::string locator_record = item.Read(locator_at, kLocatorBytes);
    if (Fields locator(locator_record, where); locator.Number(4) == kLocatorSignature) {
      last = locator_at - kEnd64Bytes;
      const std::string record64 = item.Read(last, kEnd64Bytes);
      Fields end64(record64, where);
      if (end64.Number(4) != kEnd64Signature) FailAt(where, "it has no long end record");
      end64.Skip(28);
      members = end64.Number(8), size = end64.Number(8), begin = end64.Number(8);
    }
  }
  if (members > kMaxZipMembers) FailAt(where, "it has " + std::to_string(members) + " members");
  if (size > static_cast<uint64_t>(kMaxDirectoryBytes)) FailAt(where, "its directory is too long");
  if (begin > static_cast<uint64_t>(last) || size != static_cast<uint64_t>(last) - begin) {
    FailAt(where, "its directory does not end where the end record begins");
  }
  return {members, static_cast<int64_t>(begin), last};
}

struct Entry {
  std::string name;
  uint32_t crc = 0;
  uint64_t size = 0;
  uint64_t header = 0;  // where its header is
};

// The numbers that did not fit are in the extra field of this kind, in this order.
void ReadLongNumbers(std::string_view extra, Entry& entry, uint64_t& stored, const std::string& where) {
  Fields fields(extra, where);
  while (!fields.empty()) {
    const uint64_t kind = fields.Number(2), length = fields.Number(2);
    Fields content(fields.Take(length), where);
    if (kind != 1) continue;
    for (uint64_t* number : {&entry.size, &stored, &entry.header}) {
      if (*number == kElsewhere) *number = content.Number(8);
    }
  }
}

Entry ReadEntry(Fields& directory, const std::string& where) {
  if (directory.Number(4) != kEntrySignature) FailAt(where, "its directory is damaged");
  directory.Skip(4);
  const uint64_t flags = directory.Number(2), method = directory.Number(2);
  directory.Skip(4);
  Entry entry{.crc = static_cast<uint32_t>(directory.Number(4))};
  uint64_t stored = directory.Number(4);
  entry.size = directory.Number(4);
  const uint64_t name = directory.Number(2), extra = directory.Number(2), comment = directory.Number(2);
  directory.Skip(8);
  entry.header = directory.Number(4);
  entry.name = directory.Take(name);
  ReadLongNumbers(directory.Take(extra), entry, stored, where);
  directory.Take(comment);
  if (method != 0 || (flags & 1) != 0) FailAt(where, "\"" + entry.name + "\" is compressed or encrypted");
  if (stored != entry.size) FailAt(where, "\"" + entry.name + "\" has two sizes");
  return entry;
}

// Where the member lies, counted from the item's beginning.
ZipMember Locate(const ItemBytes& item, const Entry& entry, const Directory& directory, const std::string& where) {
  const uint64_t limit = static_cast<uint64_t>(directory.begin);
  if (entry.header > limit || limit - entry.header < static_cast<uint64_t>(kHeaderBytes)) {
    FailAt(where, "\"" + entry.name + "\" leaves it");
  }
  const int64_t header_at = static_cast<int64_t>(entry.header);
  const std::string record = item.Read(header_at, kHeaderBytes);
  Fields header(record, where);
  if (header.Number(4) != kHeaderSignature) FailAt(where, "\"" + entry.name + "\" has no header");
  header.Skip(4);
  if (header.Number(2) != 0) FailAt(where, "\"" + entry.name + "\" is compressed");
  header.Skip(16);
  const int64_t name = static_cast<int64_t>(header.Number(2)), extra = static_cast<int64_t>(header.Number(2));
  const int64_t begin = header_at + kHeaderBytes + name + extra;
  if (begin > directory.begin || entry.size > static_cast<uint64_t>(directory.begin - begin)) {
    FailAt(where, "\"" + entry.name + "\" leaves it");
  }
  if (item.Read(header_at + kHeaderBytes, name) != entry.name) FailAt(where, "\"" + entry.name + "\" has two names");
  return {begin, begin + static_cast<int64_t>(entry.size), entry.crc};
}

void CheckApart(const std::map<std::string, ZipMember>& members, const std::string& where) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const auto& [name, member] : members) ranges.emplace_back(member.begin, member.end);
  std::ranges::sort(ranges);
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].second) FailAt(where, "two members overlap");
  }
}

}  // namespace

std::map<std::string, ZipMember> ReadZipMembers(const ReadableFile& file, FileRange range, const std::string& where) {
  const ItemBytes item(file, range, where);
  const Directory directory = FindDirectory(item, where);
  const std::string bytes = item.Read(directory.begin, directory.end - directory.begin);
  Fields fields(bytes, where);
  std::map<std::string, ZipMember> members;
  std::string folder;
  for (uint64_t i = 0; i < directory.members; ++i) {
    const Entry entry = ReadEntry(fields, where);
    const size_t slash = entry.name.find('/');
    if (slash == entry.name.npos) FailAt(where, "\"" + entry.name + "\" is in no folder");
    if (i == 0) folder = entry.name.substr(0, slash);
    if (entry.name.substr(0, slash) != folder) FailAt(where, "it has two folders");
    ZipMember member = Locate(item, entry, directory, where);
    member.begin += range.begin, member.end += range.begin;
    if (!members.emplace(entry.name.substr(slash + 1), member).second) {
      FailAt(where, "it has \"" + entry.name + "\" twice");
    }
  }
  if (!fields.empty()) FailAt(where, "its directory has more members than it says");
  CheckApart(members, where);
  return members;
}

std::string ReadZipMember(const ReadableFile& file, const ZipMember& member, int64_t max_bytes,
                          const std::string& where) {
  if (member.end - member.begin > max_bytes)
    FailAt(where, "a member of more than " + std::to_string(max_bytes) + " bytes");
  std::string bytes(static_cast<size_t>(member.end - member.begin), '\0');
  file.ReadAt(member.begin, bytes);
  if (member.crc != 0 && Crc32(bytes) != member.crc) FailAt(where, "a member has another checksum than it had");
  return bytes;
}

}  // namespace shardcts::reference
