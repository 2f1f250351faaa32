#include "storage/crc32.h"

#include <array>
#include <cstddef>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace shardcts::reference {
namespace {

constexpr uint32_t kPolynomial = 0xedb88320;

constexpr std::array<std::array<uint32_t, 256>, 8> MakeTables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t table = 1; table < 8; ++table) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[table - 1][byte];
      tables[table][byte] = (before >> 8) ^ tables[0][before & 0xff];
    }
  }
  return tables;
}
constexpr auto kTables = MakeTables();

uint32_t Load32(const char* bytes) {
  const auto at = [&](int i) { return uint32_t{static_cast<uint8_t>(bytes[i])}; };
  return at(0) | at(1) << 8 | at(2) << 16 | at(3) << 24;
}

// `crc` is inverted before and after, here as below.
uint32_t ByTables(const char* bytes, size_t size, uint32_t crc) {
  for (; size >= 8; bytes += 8, size -= 8) {
    const uint32_t low = Load32(bytes) ^ crc, high = Load32(bytes + 4);
    crc = kTables[7][low & 0xff] ^ kTables[6][low >> 8 & 0xff] ^ kTables[5][low >> 16 & 0xff] ^ kTables[4][low >> 24] ^
          kTables[3][high & 0xff] ^ kTables[2][high >> 8 & 0xff] ^ kTables[1][high >> 16 & 0xff] ^
          kTables[0][high >> 24];
  }
  for (; size > 0; ++bytes, --size) crc = (crc >> 8) ^ kTables[0][(crc ^ static_cast<uint8_t>(*bytes)) & 0xff];
  return crc;
}

#if defined(__x86_64__)
constexpr size_t kFolded = 64;  // bytes of one step

__attribute__((target("pclmul,sse4.1"))) __m128i Load128(const char* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

// Moves what is in `sum` forward by the distance that the constants stand for, and adds what is there.
__attribute__((target("pclmul,sse4.1"))) __m128i Fold(__m128i sum, __m128i constants, __m128i next) {
  const __m128i low = _mm_clmulepi64_si128(sum, constants, 0x00), high = _mm_clmulepi64_si128(sum, constants, 0x11);
  return _mm_xor_si128(_mm_xor_si128(low, high), next);
}

// Carry-less multiplication folds 64 bytes at a time; what remains, 16 bytes with the same checksum as all of them,
// goes through the tables. Constants: x^n modulo the polynomial, reflected, from Intel's "Fast CRC Computation for
// Generic Polynomials Using PCLMULQDQ Instruction".
__attribute__((target("pclmul,sse4.1"))) uint32_t ByFolding(const char*& bytes, size_t& size, uint32_t crc) {
  const __m128i by_64 = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), by_16 = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
  __m128i sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = Load128(bytes + 16 * i);
  sums[0] = _mm_xor_si128(sums[0], _mm_cvtsi32_si128(static_cast<int>(crc)));
  for (bytes += kFolded, size -= kFolded; size >= kFolded; bytes += kFolded, size -= kFolded) {
    for (int i = 0; i < 4; ++i) sums[i] = Fold(sums[i], by_64, Load128(bytes + 16 * i));
  }
  for (int i = 1; i < 4; ++i) sums[0] = Fold(sums[0], by_16, sums[i]);
  char rest[16];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(rest), sums[0]);
  return ByTables(rest, sizeof rest, 0);
}

bool CanFold() {
  static const bool can = __builtin_cpu_supports("pclmul") != 0 && __builtin_cpu_supports("sse4.1") != 0;
  return can;
}
#endif

}  // namespace

uint32_t PortableCrc32(std::string_view bytes, uint32_t before) {
  return ~ByTables(bytes.data(), bytes.size(), ~before);
}

uint32_t Crc32(std::string_view bytes, uint32_t before) {
  const char* data = bytes.data();
  size_t size = bytes.size();
  uint32_t crc = ~before;
#if defined(__x86_64__)
  if (size >= 2 * kFolded && CanFold()) crc = ByFolding(data, size, crc);
#endif
  return ~ByTables(data, size, crc);
}

}  // namespace shardcts::reference
