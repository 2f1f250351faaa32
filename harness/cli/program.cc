#include "cli/program.h"

#include <signal.h>

#include <filesystem>
#include <iostream>

#include "run_files/foreign_text.h"
#include "run_files/input_error.h"

namespace shardcts {
namespace {

constexpr int kInputErrorCode = 2;
constexpr int kHarnessErrorCode = 3;
constexpr size_t kLongestErrorBytes = 2000;

int Fail(const std::string& message, int code) {
  const std::string text = Bounded(message.substr(0, message.find_last_not_of(" \n") + 1), kLongestErrorBytes);
  std::cerr << "shardcts: " << OneLine(text) << std::endl;
  return code;
}

void RequireUtf8(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (!IsUtf8(argv[i])) throw InputError("argument " + std::to_string(i) + " of the command is not UTF-8");
  }
}

// A reader of the output that has gone must not end a run (`shardcts run … | head -1`), nor must a limit of the size
// of files end it without a word: writing fails, and the error says why. Programs that are started have the signals'
// defaults again, which SIG_IGN would not give them.
void OutliveFailingWrites() {
  for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, [](int) {});
}

}  // namespace

int RunProgram(int argc, char** argv, const std::function<void(CLI::App&)>& add_commands) {
  CLI::App app("Conformance tests for distributed sharded state dicts.", "shardcts");
  app.require_subcommand(0, 1);
  add_commands(app);
  OutliveFailingWrites();
  try {
    RequireUtf8(argc, argv);
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
  } catch (const std::filesystem::filesystem_error& error) {
    return Fail(error.path1().string() + ": " + error.code().message(), kInputErrorCode);
  } catch (const std::exception& error) {
    return Fail(std::string("internal error: ") + error.what(), kHarnessErrorCode);
  }
}

}  // namespace shardcts
