// The command that runs one test again. *Local*.
#pragma once

#include <string>

namespace shardcts {

struct ImplementationSpec;
struct RunOptions;
struct TestCase;

// One line for a shell, with what the run's options change about a test.
std::string ReproduceCommand(const RunOptions& options, const ImplementationSpec& spec, const TestCase& test);

// The text as one word of a shell command: as it is, or in single quotes.
std::string ShellWord(const std::string& text);

}  // namespace shardcts
