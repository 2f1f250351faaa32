#include "comm/copy_bytes.h"

#include <cstring>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace shardcts {
namespace {

#ifdef __SSE2__
constexpr int64_t kLineBytes = 64;
constexpr int64_t kAheadBytes = 8 * kLineBytes;  // that are asked of memory before they are needed

// `to` begins with a line of the cache.
void StreamLines(char* to, const char* from, int64_t bytes) {
  constexpr int kWords = kLineBytes / sizeof(__m128i);
  for (int64_t done = 0; done < bytes; done += kLineBytes) {
    const auto* source = reinterpret_cast<const __m128i*>(from + done);
    auto* target = reinterpret_cast<__m128i*>(to + done);
    _mm_prefetch(from + done + kAheadBytes, _MM_HINT_NTA);  // past the end it does nothing
    __m128i words[kWords];
    for (int i = 0; i < kWords; ++i) words[i] = _mm_loadu_si128(source + i);
    for (int i = 0; i < kWords; ++i) _mm_stream_si128(target + i, words[i]);
  }
  _mm_sfence();  // streamed bytes are in no order with what is stored later, otherwise
}
#endif

}  // namespace

void CopyBytes(char* to, const char* from, int64_t bytes) {
  if (bytes <= 0) return;
#ifdef __SSE2__
  if (bytes >= kLeastStreamedBytes) {
    const auto past_line = static_cast<int64_t>(reinterpret_cast<uintptr_t>(to) % kLineBytes);
    const int64_t before = (kLineBytes - past_line) % kLineBytes;
    const int64_t lines = (bytes - before) / kLineBytes * kLineBytes;
    const int64_t streamed_end = before + lines;
    std::memmove(to, from, static_cast<size_t>(before));
    StreamLines(to + before, from + before, lines);
    std::memmove(to + streamed_end, from + streamed_end, static_cast<size_t>(bytes - streamed_end));
    return;
  }
#endif
  std::memmove(to, from, static_cast<size_t>(bytes));
}

}  // namespace shardcts
