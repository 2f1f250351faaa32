// The subcommands of `shardcts`: one file NAME_command.cc each, with one function that adds the subcommand to the
// program. A new one is declared here, added in main.cc, and listed in CMakeLists.txt.
//
// A command ends with `throw CLI::RuntimeError(code)` when its exit code is not 0, and with InputError
// (run_files/input_error.h) when the command line or a file it names is wrong: main prints it as one line, exit code 2.
#pragma once

#include <CLI/CLI.hpp>

#include "run/run.h"

namespace shardcts {

void AddListCommand(CLI::App& app);
void AddCapabilitiesCommand(CLI::App& app);
void AddNewAdapterCommand(CLI::App& app);
// `parity` compares the traces of two implementations after the run; empty: `run` has no parity.
void AddRunCommand(CLI::App& app, ParityFunction parity);
// Makes the results of a run again from its files; `parity` as of `run`.
void AddRecoverCommand(CLI::App& app, ParityFunction parity);
void AddReportCommand(CLI::App& app);
void AddParityCommand(CLI::App& app);
void AddExecCommand(CLI::App& app);
void AddReplayCommand(CLI::App& app);
void AddExportCommand(CLI::App& app);
void AddMutantsCommand(CLI::App& app);
void AddFuzzCommand(CLI::App& app);
// certify, verify, merge, diff, history, site.
void AddPythonCommands(CLI::App& app);
void AddCheckpointCommand(CLI::App& app);

}  // namespace shardcts
