// The frame of the program: parses the command line and turns the way it ends into an exit code. *Local*.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

namespace shardcts {

// Runs the subcommand that the command line names; `add_commands` adds them. Returns its exit code: 2 for a wrong
// command line and for InputError, 3 for any other exception, each with one line on standard error that begins with
// "shardcts: ".
int RunProgram(int argc, char** argv, const std::function<void(CLI::App&)>& add_commands);

}  // namespace shardcts
