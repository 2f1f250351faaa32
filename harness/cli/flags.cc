#include "cli/flags.h"

#include <algorithm>
#include <cstdlib>
#include <charconv>
#include <cmath>
#include <ctime>
#include <fstream>
#include <set>

#include "process/processors.h"
#include "results/waiver_file.h"
#include "run/reproduce.h"
#include "run_files/input_error.h"
#include "run_files/program_folder.h"

namespace shardcts {
namespace {

constexpr int kMostJobsUnasked = 4;
constexpr size_t kMostImplementations = 64;  // as in results.schema.json

constexpr int kMaxWorldSize = 4096;
constexpr double kShortestSeconds = 0.001;
constexpr double kLongestSeconds = 30 * 24 * 3600.0;

std::chrono::milliseconds ToMilliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(std::llround(seconds * 1000)));
}

// CLI::Range lets NaN pass.
CLI::Option* AddSeconds(CLI::App& command, const char* name, double& seconds, const char* text) {
  const auto check = [](const std::string& word) -> std::string {
    double value = 0;
    const bool number = CLI::detail::lexical_cast(word, value);
    if (number && value >= kShortestSeconds && value <= kLongestSeconds) return "";
    return "Value " + word + " not in range [0.001 - 2592000]";
  };
  return command.add_option(name, seconds, text)->capture_default_str()->check(CLI::Validator(check, "SECONDS"));
}

// The words of this program's command line.
std::vector<std::string> CommandWords() {
  std::ifstream stream("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> words;
  for (std::string word; std::getline(stream, word, '\0');) words.push_back(word);
  return words;
}

}  // namespace

std::string ProgramWord() {
  const std::vector<std::string> words = CommandWords();
  return words.empty() ? "shardcts" : ShellWord(words[0]);
}

void SetCommand(RunOptions& options) {
  options.program = ProgramWord();
  for (const std::string& word : CommandWords()) options.command += (options.command.empty() ? "" : " ") + ShellWord(word);
}

void SelectionFlags::AddTo(CLI::App& command) {
  command.add_option("--suite", selection_.suites, "only this suite; may repeat")->type_name("NAME");
  command
      .add_option("--filter", selection_.filters,
                  "only ids that contain this text, or fit it whole when it has * or ?; may repeat")
      ->type_name("TEXT");
  command.add_option("--world", selection_.world_sizes, "only these world sizes")->delimiter(',')->type_name("N")->check(CLI::Range(1, kMaxWorldSize));
  command.add_option("--max-world", selection_.max_world_size, "largest world size allowed")
      ->capture_default_str()
      ->check(CLI::Range(1, kMaxWorldSize));
  command.add_option("--shard", shard_, "only the i-th of n parts of the selection")->type_name("i/n");
}

std::vector<TestCase> SelectionFlags::SelectTests() const {
  Selection selection = selection_;
  if (!shard_.empty()) ParseShard(shard_, selection);
  return Select(AllTests(), selection);
}

void ImplementationFlags::AddTo(CLI::App& command) {
  CLI::Option* impl = command.add_option(
      "--impl", texts_, "reference, torch, python:MODULE:CLASS or PATH.so, with +mutant=NAME and ,key=value");
  impl->required()->type_name("NAME")->take_all();
  if (!several_) impl->expected(1);
  command.add_option("--device", device_, "device type for implementations that name none (default cpu)")
      ->type_name("TYPE");
}

std::vector<ImplementationSpec> ImplementationFlags::Specs() const {
  if (texts_.size() > kMostImplementations) throw InputError("--impl: given more than 64 times");
  std::vector<ImplementationSpec> specs;
  std::set<std::string> labels;
  for (const std::string& text : texts_) {
    const bool add_device = !device_.empty() && text.find(",device=") == text.npos;
    specs.push_back(ParseImplementationSpec(add_device ? text + ",device=" + device_ : text));
    if (!labels.insert(specs.back().label).second) throw InputError("--impl " + text + ": given twice");
  }
  return specs;
}

void WaiverFlags::AddTo(CLI::App& command) {
  command.add_option("--waivers", files_, "failures that somebody answers for (TOML); may repeat")->type_name("FILE");
}

std::vector<Waiver> WaiverFlags::Waivers() const { return LoadWaivers({files_.begin(), files_.end()}); }

PoolFlags::PoolFlags() = default;

void PoolFlags::AddTo(CLI::App& command) {
  // The library would take -1 and wrap it.
  const auto is_seed = [](const std::string& word) -> std::string {
    uint64_t seed = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), seed);
    const bool right = error == std::errc() && end == word.data() + word.size();
    return right ? "" : "Value " + word + " is no integer of 0 to 2^64 - 1";
  };
  command.add_option("--seed", defaults_.seed, "of every random choice")
      ->capture_default_str()
      ->check(CLI::Validator(is_seed, "N"));
  command.add_option("--trace", defaults_.trace, "tensor data in traces: never, up to 64 KiB, always")
      ->capture_default_str()
      ->check(CLI::IsMember({"digest", "inline", "full"}));
  AddSeconds(command, "--timeout", timeout_seconds_, "seconds that one test may take");
  AddSeconds(command, "--start-timeout", start_timeout_seconds_, "seconds until the ranks of a pool must be ready");
  AddSeconds(command, "--stop-timeout", stop_timeout_seconds_,
             "seconds that ranks get to stop after a peer has failed the test; then their pool is started anew");
  command.add_option("--stop-after-hangs", defaults_.stop_after_hangs, "more hangs than this end a pool's tests")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  command
      .add_option("--start", start_,
                  "warm: ranks are forks of one process that has loaded the implementation's libraries, where that "
                  "can be done; cold: each rank loads them")
      ->capture_default_str()
      ->check(CLI::IsMember({"warm", "cold"}));
  launcher_ = command.add_option("--launcher", defaults_.launcher,
                     "starts the ranks on several hosts, as in \"mpiexec -f HOSTS -n {ranks}\" or \"srun -n {ranks}\"; "
                     "{ranks} stands for the world size");
  launcher_->type_name("WORDS");
  command.add_option("--control-address", defaults_.control_address,
                     "with --launcher: this host's address, where the ranks reach it (default: what its name stands for)")
      ->type_name("ADDRESS");
  command.add_option("--rank-program", rank_program_, "the program that is one rank")->group("");
}

void PoolFlags::Apply(RunOptions& options) const {
  options.seed = defaults_.seed;
  options.trace = defaults_.trace;
  options.launcher = defaults_.launcher;
  options.control_address = defaults_.control_address;
  options.start_mode = start_ == "cold" ? StartMode::kCold : StartMode::kWarm;
  options.stop_after_hangs = defaults_.stop_after_hangs;
  options.limits.test = ToMilliseconds(timeout_seconds_);
  options.limits.start = ToMilliseconds(start_timeout_seconds_);
  options.limits.stop_peers = ToMilliseconds(stop_timeout_seconds_);
  options.rank_program =
      rank_program_.empty() ? ProgramFolder() / "shardcts-rank" : std::filesystem::absolute(rank_program_);
  options.own_processors = options.launcher.empty();  // a launcher may bind ranks itself
  if (launcher_->count() > 0 && options.launcher.find_first_not_of(' ') == std::string::npos) {
    throw InputError("--launcher: is empty");
  }
  if (!options.control_address.empty() && options.launcher.empty()) {
    throw InputError("--control-address: is for --launcher");
  }
  if (!std::filesystem::exists(options.rank_program)) {
    throw InputError(options.rank_program.string() + ": there is no such rank program");
  }
}

void LoadWithFlag::AddTo(CLI::App& command) {
  command
      .add_option("--load-with", text_,
                  "runs the phases that load with this implementation: what the others save is read by it")
      ->type_name("NAME");
}

std::optional<ImplementationSpec> LoadWithFlag::Spec(bool any_loads) const {
  if (text_.empty()) return std::nullopt;
  const ImplementationSpec spec = ParseImplementationSpec(text_);
  if (!any_loads) throw InputError("--load-with " + text_ + ": nothing that is to run has a phase that loads");
  return spec;
}

void StorageFlags::AddTo(CLI::App& command) {
  command
      .add_option("--storage-root", root_,
                  "a folder, on any file system, below which the folders of tests with phases are made (default: in the "
                  "run folder)")
      ->type_name("DIR");
  command
      .add_option_function<std::string>(
          "--crash-points", [](const std::string& points) { ::setenv("SHARDCTS_CRASH_POINTS", points.c_str(), 1); },
          "at how many points of a save, of the seed's choice, rules kill a rank, or all (default: as their cases say)")
      ->type_name("all|N")
      ->check([](const std::string& points) {
        const bool is_number =
            !points.empty() && points.find_first_not_of("0123456789") == points.npos && points != "0";
        return is_number || points == "all" ? "" : "expected a number from 1, or all: \"" + points + "\"";
      });
}

std::filesystem::path StorageFlags::Root() const {
  if (root_.empty()) return {};
  return std::filesystem::absolute(root_).lexically_normal();
}

void JobsFlag::AddTo(CLI::App& command) {
  command
      .add_option("--jobs", jobs_,
                  "how many rank pools run at the same time (default: one for each processor, at most 4; 1 with "
                  "a device other than the CPU or a launcher of one's own)")
      ->type_name("N")
      ->check(CLI::Range(1, 256));
}

int JobsFlag::Jobs(const RunOptions& options) const {
  if (jobs_ > 0) return jobs_;
  const auto on_cpu = [](const ImplementationSpec& spec) { return spec.device == "cpu"; };
  if (!std::ranges::all_of(AllImplementations(options), on_cpu)) return 1;
  if (!options.launcher.empty()) return 1;  // it may not be able to start more ranks
  return std::clamp(static_cast<int>(AllowedProcessors().size()), 1, kMostJobsUnasked);
}

void OutFlag::AddTo(CLI::App& command) {
  option_ = command.add_option("--out", folder_, "the run folder (default out/YYYYMMDD-HHMMSS)")->type_name("DIR");
}

std::filesystem::path OutFlag::Folder() const {
  if (!folder_.empty()) return folder_;
  if (option_->count() > 0) throw InputError("--out: is empty");
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char name[32];
  std::strftime(name, sizeof(name), "%Y%m%d-%H%M%S", &utc);
  return std::filesystem::path("out") / name;
}

}  // namespace shardcts
