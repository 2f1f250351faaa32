#include "cli/progress.h"

#include <map>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <ostream>
#include <sstream>
#include <vector>

#include "run_files/foreign_text.h"

namespace shardcts {
namespace {

constexpr size_t kLongestMessage = 400;

std::string Colored(const std::string& text, const char* color, bool colors) {
  return colors ? std::string("\033[") + color + "m" + text + "\033[0m" : text;
}

std::string Short(const std::string& message) {
  const std::string line = OneLine(message);
  return line.size() > kLongestMessage ? Beginning(line, kLongestMessage) + "…" : line;
}

// "advice" and "waived" are one of the two verdicts; all other texts describe a known difference.
std::string_view KindOfApart(const std::string& text) {
  if (text == "advice") return "advice";
  return text.empty() || text == "waived" ? "waived" : "with known differences";
}

std::string ParityLine(const std::string& label, const Results& results) {
  std::map<std::string_view, int64_t> apart;  // tests whose differences are no news
  int64_t tests = 0, identical = 0, close = 0, different = 0, structural = 0;
  std::string against;
  for (const TestResult& test : results.tests) {
    if (test.implementation != label || !test.parity.is_object()) continue;
    ++tests;
    if (test.parity.value("waived", false)) {
      ++apart[KindOfApart(test.parity.value("apart", ""))];
      continue;
    }
    against = test.parity.value("against", "");
    identical += test.parity.value("identical", 0);
    close += test.parity.value("close", 0);
    different += test.parity.value("different", 0);
    structural += test.parity.value("structural", 0);
  }
  if (tests == 0) return "";
  std::ostringstream line;
  line << "parity of " << label << " against " << against << " in " << tests << " tests: " << identical
       << " tensors identical, " << close << " close, " << different << " different, " << structural << " structural";
  const char* separator = "; ";
  for (const auto& [kind, count] : apart) {
    line << separator << count << " " << kind;
    separator = ", ";
  }
  if (!apart.empty()) line << ", counted apart";
  line << "\n";
  return line.str();
}

}  // namespace

ScreenStyle ScreenStyle::Detect() {
  ScreenStyle style;
  style.live = ::isatty(STDOUT_FILENO) != 0;
  const char* no_color = std::getenv("NO_COLOR");
  style.colors = style.live && (no_color == nullptr || *no_color == '\0');
  winsize size{};
  if (style.live && ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) style.width = size.ws_col;
  return style;
}

void ProgressPrinter::ShowLine(const std::string& what) {
  if (!style_.live) return;
  std::string line = "[" + std::to_string(done_) + "/" + std::to_string(total_) + "]";
  for (const auto& [verdict, count] : counts_) line += " " + ToString(verdict) + " " + std::to_string(count);
  line += "  " + what;
  out_ << "\r\033[K" << Beginning(OneLine(line), style_.width - 1) << std::flush;
}

void ProgressPrinter::Clear() {
  if (style_.live) out_ << "\r\033[K" << std::flush;
}

void ProgressPrinter::OnPoolStart(const std::string& implementation, int world_size, size_t tests) {
  ShowLine("starting " + std::to_string(world_size) + " ranks of " + implementation);
}

void ProgressPrinter::OnPoolProblem(const std::string& implementation, int world_size, const std::string& problem) {
  Clear();
  out_ << implementation << ", " << world_size << " ranks: " << Short(problem) << std::endl;
}

void ProgressPrinter::OnTestStarted(const TestResult& test) { ShowLine(test.implementation + " " + test.test.id); }

void ProgressPrinter::OnTestOver(const TestResult& test) {
  ++done_;
  ++counts_[test.verdict];
  const bool silent = test.verdict == Verdict::kPass || test.verdict == Verdict::kNotApplicable ||
                      test.verdict == Verdict::kNotSupported;
  if (silent) return;
  Clear();
  out_ << DescribeFailure(test, style_.colors) << std::flush;
}

void ProgressPrinter::OnParity(const std::string& implementation, size_t done, size_t total) {
  ShowLine("comparing " + implementation + " " + std::to_string(done) + "/" + std::to_string(total));
}

std::string DescribeFailure(const TestResult& test, bool colors) {
  std::string message = test.reason;
  if (message.empty() && !test.ranks.empty() && !test.ranks[0].failures.empty())
    message = test.ranks[0].failures[0].message;
  const std::string line = " " + test.test.id + " [" + test.implementation + "]: " + Short(message) + "\n";
  if (test.verdict == Verdict::kWaived) return Colored("waived", "33", colors) + line;
  if (test.verdict == Verdict::kAdvice) return Colored("advice", "33", colors) + line;
  return Colored(ToString(test.verdict), "31", colors) + line + "  reproduce: " + test.reproduce + "\n";
}

std::string SummaryTable(const Results& results) {
  std::map<std::string, std::map<Verdict, size_t>> counts;
  std::map<Verdict, size_t> occurring = {{Verdict::kPass, 0}, {Verdict::kFail, 0}};
  size_t label_width = std::string("implementation").size();
  for (const TestResult& test : results.tests) {
    ++counts[test.implementation][test.verdict];
    ++occurring[test.verdict];
    label_width = std::max(label_width, test.implementation.size());
  }
  std::ostringstream table;
  table << std::left << std::setw(static_cast<int>(label_width)) << "implementation" << std::right << std::setw(7)
        << "tests";
  for (const auto& [verdict, count] : occurring) table << "  " << ToString(verdict);
  table << "\n";
  for (const ImplementationResult& implementation : results.implementations) {
    if (implementation.loads_only) continue;
    auto& row = counts[implementation.label];
    size_t total = 0;
    for (const auto& [verdict, count] : row) total += count;
    table << std::left << std::setw(static_cast<int>(label_width)) << implementation.label << std::right << std::setw(7)
          << total;
    for (const auto& [verdict, count] : occurring) {
      table << "  " << std::setw(static_cast<int>(ToString(verdict).size())) << row[verdict];
    }
    table << "\n";
  }
  for (const ImplementationResult& implementation : results.implementations)
    table << ParityLine(implementation.label, results);
  const auto flaky =
      std::count_if(results.tests.begin(), results.tests.end(), [](const auto& test) { return test.flaky; });
  if (flaky > 0) table << flaky << " of the tests are flaky\n";
  return table.str();
}

}  // namespace shardcts
