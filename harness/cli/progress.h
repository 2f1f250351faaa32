// The output of a running run: a line that is rewritten on a terminal, plain lines for what is not green, and for
// what is waived. *Local*.
#pragma once

#include <iosfwd>
#include <map>
#include <string>

#include "run/run.h"

namespace shardcts {

struct ScreenStyle {
  bool live = false;  // the output is a terminal: rewrite one line
  bool colors = false;
  size_t width = 80;  // of the terminal

  // For standard output: live when it is a terminal; colors then, unless NO_COLOR is set.
  static ScreenStyle Detect();
};

class ProgressPrinter : public RunObserver {
 public:
  ProgressPrinter(std::ostream& out, ScreenStyle style, size_t total) : out_(out), style_(style), total_(total) {}

  void OnPoolStart(const std::string& implementation, int world_size, size_t tests) override;
  void OnPoolProblem(const std::string& implementation, int world_size, const std::string& problem) override;
  void OnTestStarted(const TestResult& test) override;
  void OnTestOver(const TestResult& test) override;
  void OnParity(const std::string& implementation, size_t done, size_t total) override;
  // Removes the live line.
  void Clear();

 private:
  void ShowLine(const std::string& what);

  std::ostream& out_;
  const ScreenStyle style_;
  const size_t total_;
  size_t done_ = 0;
  std::map<Verdict, size_t> counts_;
};

// Two lines: verdict, id, implementation and the first failure; the command that reproduces it. A waived test, or
// one that is advice: one line.
std::string DescribeFailure(const TestResult& test, bool colors);

// One row per implementation, one column per verdict that occurs, and for each compared implementation its parity.
std::string SummaryTable(const Results& results);

}  // namespace shardcts
