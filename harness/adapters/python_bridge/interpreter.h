// The embedded Python interpreter: one per process, never ended.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace shardcts {

// Starts the interpreter, with the GIL released, or does nothing when it runs. It is the Python of the environment
// variable SHARDCTS_PYTHON (default: the one that the build found) and sees that one's packages. sys.path gets in
// front: the entries of SHARDCTS_PYTHONPATH, the adapters' package, the models' package; at its end: the current
// folder. Throws std::runtime_error with one line.
void StartInterpreter();

// "ModuleNotFoundError: No module named 'x'", on one line. Holds the GIL.
std::string ToString(const pybind11::error_already_set& error);

}  // namespace shardcts
