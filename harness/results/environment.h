// What a run was made with: operating system, processor, accelerators, MPI, compiler. *Local*.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace shardcts {

// {os, cpu, cores, memory_gib, gpu, driver, mpi, nccl, torch, python, compiler}; what is unknown is null. `torch`,
// `python` and `nccl` come later from the notes of the ranks and implementations (AddImplementationNotes). Runs nvidia-smi and the
// launcher's --version, each for at most 5 s.
nlohmann::ordered_json CaptureEnvironment(const std::string& launcher);

// Takes over the notes torch, python and nccl of an implementation's description, where they are not known yet.
void AddImplementationNotes(const nlohmann::ordered_json& implementation, nlohmann::ordered_json& environment);

// The commit of the source tree that the suites were built from, with "-dirty" when it has local changes; for an
// installation that at the time of installing; empty when it cannot be told.
std::string SuiteCommit();

}  // namespace shardcts
