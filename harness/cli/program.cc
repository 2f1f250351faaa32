#include "cli/program.h"

#include <iostream>

#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr int kInputErrorCode = 2;
constexpr int kHarnessErrorCode = 3;

int Fail(const std::string& message, int code) {
  std::string line = message.substr(0, message.find_last_not_of(" \n") + 1);
  for (char& c : line) c = c == '\n' ? ' ' : c;
  std::cerr << "shardcts: " << line << std::endl;
  return code;
}

}  // namespace

int RunProgram(int argc, char** argv, const std::function<void(CLI::App&)>& add_commands) {
  CLI::App app("Conformance tests for distributed sharded state dicts.", "shardcts");
  app.require_subcommand(0, 1);
  add_commands(app);
  try {
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw InputError("no command is given; see shardcts --help");
    return 0;
  } catch (const CLI::RuntimeError& exit) {
    return exit.get_exit_code();
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return Fail(error.what(), kInputErrorCode);
  } catch (const InputError& error) {
    return Fail(error.what(), kInputErrorCode);
  } catch (const std::exception& error) {
    return Fail(std::string("internal error: ") + error.what(), kHarnessErrorCode);
  }
}

}  // namespace shardcts
