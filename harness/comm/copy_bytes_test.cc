#include "comm/copy_bytes.h"

#include <gtest/gtest.h>

#include <string>

namespace shardcts {
namespace {

// No two neighbours alike, and no period that a line of the cache shares.
std::string Bytes(int64_t count) {
  std::string bytes(static_cast<size_t>(count), '\0');
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
  return bytes;
}

// Below, at and above the size from which bytes are streamed.
const int64_t kSizes[] = {0, 1, 63, 64, 4097, kLeastStreamedBytes - 1, kLeastStreamedBytes, kLeastStreamedBytes + 63};

TEST(CopyBytesTest, CopiesAllBytesAndNoOthersFromAnyPlaceToAnyPlace) {
  constexpr int64_t kMargin = 80;
  const std::string source = Bytes(kSizes[7] + kMargin);
  for (const int64_t size : kSizes) {
    for (const int64_t from : {0, 1, 13, 64}) {
      for (const int64_t to : {0, 1, 16, 63, 64}) {
        std::string target(static_cast<size_t>(size + 2 * kMargin), '\xff');
        CopyBytes(target.data() + to, source.data() + from, size);
        std::string expected(target.size(), '\xff');
        expected.replace(static_cast<size_t>(to), static_cast<size_t>(size), source, static_cast<size_t>(from),
                         static_cast<size_t>(size));
        ASSERT_TRUE(target == expected) << size << " bytes from " << from << " to " << to;
      }
    }
  }
}

TEST(CopyBytesTest, OntoItselfChangesNothing) {
  for (const int64_t size : kSizes) {
    std::string bytes = Bytes(size);
    CopyBytes(bytes.data(), bytes.data(), size);
    ASSERT_TRUE(bytes == Bytes(size)) << size << " bytes";
  }
}

}  // namespace
}  // namespace shardcts
