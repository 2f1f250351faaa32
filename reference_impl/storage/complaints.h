// What is wrong with a checkpoint: reason not to load it, or a list for whoever looks at it. *Local*.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/semantic_error.h"

namespace shardcts::reference {

class Complaints {
 public:
  enum class Kind { kThrow, kCollect };
  explicit Complaints(Kind kind) : kind_(kind) {}

  // kThrow: RuntimeError.
  void Problem(std::string text) {
    if (kind_ == Kind::kThrow) throw SemanticError("RuntimeError", text);
    if (problems_.size() < kMost) problems_.push_back(std::move(text));
  }
  // What is strange, yet no reason not to load.
  void Note(std::string text) {
    if (kind_ == Kind::kCollect && notes_.size() < kMost) notes_.push_back(std::move(text));
  }
  // Runs `step`; what it throws is a problem. False: it has thrown. kThrow: lets it through.
  bool Try(const std::function<void()>& step) {
    if (kind_ == Kind::kThrow) return step(), true;
    try {
      return step(), true;
    } catch (const std::exception& error) {
      return Problem(error.what()), false;
    }
  }
  const std::vector<std::string>& problems() const { return problems_; }
  const std::vector<std::string>& notes() const { return notes_; }

  static constexpr size_t kMost = 1000;

 private:
  const Kind kind_;
  std::vector<std::string> problems_, notes_;
};

}  // namespace shardcts::reference
