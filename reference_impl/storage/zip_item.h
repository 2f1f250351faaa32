// One item of a data file of torch.distributed.checkpoint: an archive of torch.save, whose members are stored as they
// are. Of the zip format no more is read than such archives have, so it is little: no compression, no encryption, no
// comments, one disk. *Local*.
//
// Source: PKWARE's APPNOTE.TXT, 4.3; torch/csrc/... caffe2::serialize::PyTorchStreamWriter.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "storage/files.h"

namespace shardcts::reference {

struct ZipMember {
  int64_t begin = 0;  // bytes from the beginning of the file
  int64_t end = 0;
  uint32_t crc = 0;   // of these bytes; 0: nobody has made it
};

// Part of a file.
struct FileRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

inline constexpr size_t kMaxZipMembers = 100'000;  // a state dict has one for each tensor

// The members of the archive that fills this part of the file, by name without the folder that all are in. Members lie
// in the archive, and do not overlap. RuntimeError beginning with `where`: anything else. Reads the directory and the
// headers, not the members.
std::map<std::string, ZipMember> ReadZipMembers(const ReadableFile& file, FileRange range, const std::string& where);

// The bytes of a member. RuntimeError: it has more than `max_bytes`, or another checksum.
std::string ReadZipMember(const ReadableFile& file, const ZipMember& member, int64_t max_bytes,
                          const std::string& where);

}  // namespace shardcts::reference
