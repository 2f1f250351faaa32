// Repetitions: one verdict from several runs of the same test (--repeat). *Local*.
#pragma once

#include <cstddef>
#include <string>

#include "results/results.h"

namespace shardcts {

// What the trace of a repetition (0, 1, …) of the test is called.
std::string RecordingName(const std::string& test, size_t repetition);

// Adds the outcome of one repetition to result.repetitions, which has an entry for each, and recomputes the result:
// everything in it is of the worst outcome so far, the first of equal ones; `seconds` is the sum. The worst first:
// crash, hang, diverged, fail, incomplete, unexpected_pass, advice, harness_error, not_run, not_supported, not_applicable,
// waived, pass.
//
// A test is flaky when its repetitions have different verdicts, harness_error and not_run left aside: they say nothing
// about the implementation. A flaky test is red: where its worst verdict is not, it is `fail`.
void AddRepetition(size_t repetition, TestResult outcome, TestResult& result);

}  // namespace shardcts
