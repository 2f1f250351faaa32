// Pieces of work on several threads. *Local*.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>

namespace shardcts {

// Calls work(0) … work(count - 1), each once, at most `threads` of them at a time and begun in this order, and returns
// when all have returned. Until then the calling thread copies `interrupted` into `stop`, which work checks; a piece
// that has not begun when `stop` is set is dropped. The first exception of a piece sets `stop` and is thrown here.
//
// Every thread runs until the last piece has returned: the kernel ends a process with the thread that started it, and a
// piece may use a process that another one has started.
void RunPieces(size_t count, size_t threads, const std::function<void(size_t piece)>& work,
               const std::atomic<bool>& interrupted, std::atomic<bool>& stop);

}  // namespace shardcts
