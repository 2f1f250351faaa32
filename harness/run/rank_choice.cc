#include "run/rank_choice.h"

#include <algorithm>
#include <chrono>

#include "process/process.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr std::chrono::seconds kRankProgramAnswers{60};

// Ranks in Python share one interpreter, and GPUs want a process each: they need not be asked.
bool RanksCanBeThreads(const ImplementationSpec& spec, const std::filesystem::path& rank_program) {
  if (spec.source == "torch" || spec.source.starts_with("python:")) return false;
  if (spec.device != "cpu" || spec.options.contains("comm")) return false;
  const auto answer =
      CaptureOutput({rank_program.string(), "--ranks-can-be-threads", spec.source}, kRankProgramAnswers);
  return answer && answer->starts_with("yes");
}

}  // namespace

std::vector<RankKind> ChooseRankKinds(std::optional<RankKind> wanted, const std::vector<TestCase>& tests,
                                      const ImplementationSpec& spec, const std::filesystem::path& rank_program) {
  std::vector<RankKind> kinds(tests.size(), wanted.value_or(RankKind::kProcesses));
  if (!wanted) std::ranges::transform(tests, kinds.begin(), &TestCase::rank_kind);
  if (!std::ranges::count(kinds, RankKind::kThreads) || RanksCanBeThreads(spec, rank_program)) return kinds;
  if (wanted) throw InputError(spec.label + ": its ranks cannot be threads");
  return std::vector<RankKind>(tests.size(), RankKind::kProcesses);
}

}  // namespace shardcts
