// The embedded Python interpreter: one per process.
#pragma once

#include <pybind11/pybind11.h>

#include <string>

namespace shardcts {

// Keeps Python usable. The first one starts the interpreter. It is the Python of the environment variable
// SHARDCTS_PYTHON (default: the one that the build found) and sees that one's packages. sys.path gets in front: the
// entries of SHARDCTS_PYTHONPATH, the adapters' package, the models' package; at its end: the current folder.
//
// While one exists, the GIL is released wherever no thread uses Python. The thread that destroys the last one keeps
// the GIL: PyTorch has thread-local and static Python objects, which are dropped while the process exits, and a thread
// that drops them without the GIL is aborted. So the last one must be destroyed before std::exit or the return from
// main, on the thread that ends; a process that cannot wait for that ends with std::_Exit. The interpreter itself never
// ends.
class InterpreterUse {
 public:
  // Throws std::runtime_error with one line.
  InterpreterUse();
  ~InterpreterUse();
  InterpreterUse(const InterpreterUse&) = delete;
  InterpreterUse& operator=(const InterpreterUse&) = delete;
};

// Tells Python of each fork of this process from now on; the forked process tells it of no further ones. For a process
// that does nothing but fork. Python's os.environ is not the forked process's own yet: ReadEnvironmentAgain.
void PrepareForks();

// Makes os.environ what the process's environment is now, when this process is such a fork. Needs the GIL.
void ReadEnvironmentAgain();

// "ModuleNotFoundError: No module named 'x'", on one line. Needs the GIL.
std::string ToString(const pybind11::error_already_set& error);

}  // namespace shardcts
