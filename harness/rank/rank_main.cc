// shardcts-rank: the process that is one rank of a pool, or forks the ranks of pools. Started by `shardcts run` or by a
// launcher.
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>

#include "adapters/loader.h"
#include "comm/mpi_session.h"
#include "contract/capability_tree.h"
#include "contract/nearest_name.h"
#include "contract/operation_table.h"
#include "contract/torch_version.h"
#include "control/connection.h"
#include "inventory/inventory.h"
#include "mutants/mutant.h"
#include "process/pool_temporaries.h"
#include "process/process.h"
#include "rank/crash_report.h"
#include "rank/data_communicator.h"
#include "rank/event_log.h"
#include "rank/hosted_implementation.h"
#include "rank/local_device.h"
#include "rank/port.h"
#include "rank/rank_number.h"
#include "rank/result_check.h"
#include "rank/script_case.h"
#include "rank/script_tests.h"
#include "rank/session.h"
#include "rank/stack_signal.h"
#include "rank/test_runner.h"
#include "run_files/implementation_description.h"
#include "run_files/input_error.h"
#include "run_files/plan.h"
#include "run_files/run_folder.h"
#include "run_files/shipped_implementations.h"
#include "start/parent_end.h"
#include "start/rank_processes.h"
#include "start/warm_server.h"

namespace shardcts {
namespace {

// The controller's deadlines are shorter; this only keeps an orphan from waiting for ever.
constexpr std::chrono::seconds kControlPatience{3600};

void RedirectOutput(const std::string& path) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return;  // the output goes where it went
  dup2(file, STDOUT_FILENO);
  dup2(file, STDERR_FILENO);
  close(file);
}

Json Describe(Implementation& implementation, std::vector<std::string>* capabilities) {
  const Outcome outcome = implementation.Invoke("implementation.describe", {});
  if (!outcome.ok())
    throw InputError("implementation.describe: " + outcome.error().kind + ": " + outcome.error().message);
  if (const auto unreadable = FindUnreadable(outcome.value()))
    throw InputError("implementation.describe: " + *unreadable);
  Json description = Encode(outcome.value());
  if (const auto problem = FindDescriptionProblem(description))
    throw InputError("implementation.describe: " + *problem);
  *capabilities = outcome.value().AsDict().At("capabilities").AsStrings();
  if (const auto problem = FindDeclarationProblem(*capabilities, Capabilities()))
    throw InputError("implementation.describe: " + *problem);
  return description;
}

// *Collective*. Ranks that load different things are no implementation: the results are of one name and version.
void ExpectOneSoftware(const Json& description, ControlPlane& control) {
  const std::string based_on = description.value("based_on", "");
  if (!based_on.empty() && FindShipped(based_on) == nullptr) {
    std::vector<std::string_view> names;
    for (const ShippedImplementation& shipped : kShippedImplementations) names.push_back(shipped.name);
    throw InputError("implementation.describe: based_on: " + UnknownName("implementation", based_on, names));
  }
  const std::vector<std::string> said =
      control.AllGather(description.value("name", "") + " " + description.value("version", ""));
  const auto other = std::ranges::find_if(said, [&](const std::string& one) { return one != said.front(); });
  if (other == said.end()) return;
  throw InputError("implementation.describe: rank 0 is " + said.front() + ", rank " +
                   std::to_string(other - said.begin()) + " is " + *other);
}

// *Collective*. The index of this rank within the ranks of its host.
int LocalRank(ControlPlane& control) {
  const std::vector<std::string> hosts = control.AllGather(HostName());
  return static_cast<int>(std::count(hosts.begin(), hosts.begin() + control.rank(), hosts[control.rank()]));
}

// The implementation's own, whose waits end when a peer has stopped the test.
std::unique_ptr<Communicator> MakeDataCommunicator(const DataCommunicator& kind, ControlPlane& control,
                                                   int local_rank) {
  std::unique_ptr<Communicator> data = kind.Make(control, local_rank);
  if (data != nullptr) data->AbortWhen([&control] { return control.StopOfAPeer(); });
  return data;
}

std::unique_ptr<Implementation> MakeImplementation(const Plan& plan, const ControlPlane& control, Communicator* data,
                                                   int local_rank) {
  const ImplementationSpec& spec = plan.implementation;
  ImplementationContext context{control.rank(), control.size(),     local_rank, spec.device,
                                spec.options,   plan.pool_folder, data};
  const ShippedImplementation* shipped = FindShipped(spec.source);
  const bool has_own_mutants = shipped && shipped->has_own_mutants;
  if (spec.mutant && has_own_mutants) context.options["mutant"] = *spec.mutant;
  std::unique_ptr<Implementation> implementation = LoadImplementation(spec.source, context);
  if (spec.mutant && !has_own_mutants) implementation = MakeMutant(*spec.mutant, std::move(implementation), context);
  // Libraries such as CPython turn it into an error of the running operation; the reason is to name the signal.
  signal(SIGINT, SIG_DFL);
  return implementation;
}

// What the results say of the place that the implementation runs in.
void AddNotes(const std::string& device, const std::string& backend, const std::string& nccl, Json& notes) {
  if (notes.is_object() || notes.is_null()) notes["torch"] = LoadedTorchVersion();
  if (!nccl.empty()) notes["nccl"] = nccl;
  if (device == "cpu" || backend.empty()) return;
  notes["communicator"] = backend;
  const std::string name = NameOfDevices(device);
  if (!name.empty()) notes["device_name"] = name;
}

void RunPool(const Plan& plan, ControlPlane& control, EventLog& events) {
  const auto start = std::chrono::steady_clock::now();
  const int local_rank = LocalRank(control);
  const DataCommunicator data_kind(plan);
  events.Write("implementation_started");  // what ends this rank from here on is the implementation's
  HostedImplementation implementation(
      [&] { return MakeDataCommunicator(data_kind, control, local_rank); },
      [&](Communicator* data) { return MakeImplementation(plan, control, data, local_rank); });

  std::vector<std::string> capabilities;
  Json description = Describe(implementation, &capabilities);
  ExpectOneSoftware(description, control);
  AddNotes(plan.implementation.device, implementation.backend(), data_kind.nccl_version(), description["notes"]);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  events.Write("pool_ready", {{"seconds", seconds}, {"implementation", description}});

  Session session(implementation, control, control.rank(), control.size(), plan.implementation.device, capabilities);
  if (plan.script.empty() || PlansScriptTests(plan)) {
    RunTests(plan, capabilities, implementation, session, control, events);
  } else {
    RunScriptCase(plan, session, control, events);
  }
  events.Write("pool_finished");
}

// Errors are written to the event file, unless they follow from a peer's end. Returns the exit code. Throws
// EventFileFailure.
int RunRank(const Plan& plan, ControlPlane& control, EventLog& events) {
  try {
    CheckPortsAgainstInventory(AllTests(), AllPorts());
    RunPool(plan, control, events);
  } catch (const InputError& error) {
    events.Write("pool_failed", {{"kind", "input"}, {"message", error.what()}});
    return 2;
  } catch (const EventFileFailure&) {
    throw;
  } catch (const std::exception& error) {
    if (control.must_leave()) return kPeerGoneExitCode;
    events.Write("pool_failed", {{"kind", "harness"}, {"message", error.what()}});
    return 3;
  }
  return 0;
}

// Loads LibTorch, the inventory and the implementation's libraries, and forks the ranks. Returns in the ranks: their
// command line.
std::vector<std::string> BecomeWarmProcess(const char* task_file) {
  at::set_num_threads(1);
  return ForkRanks(task_file, [](const ImplementationSpec& implementation) {
    PreloadImplementation(implementation.source, implementation.options);
    CheckPortsAgainstInventory(AllTests(), AllPorts());
  });
}

// shardcts-rank --plan PLAN.json [--rank R]
struct CommandLine {
  std::string plan;
  std::optional<int> rank;  // nullopt: the launcher or the controller says
};

std::optional<CommandLine> ReadCommandLine(int argc, char** argv) {
  if ((argc != 3 && argc != 5) || std::string(argv[1]) != "--plan") return std::nullopt;
  if (argc == 5 && std::string(argv[3]) != "--rank") return std::nullopt;
  return CommandLine{argv[2], argc == 5 ? std::optional(std::atoi(argv[4])) : std::nullopt};
}

int Main(int argc, char** argv, bool warm) {
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // process/orphans.h
  prctl(PR_SET_PDEATHSIG, SIGKILL);  // a rank does not outlive the process that has started it
  testing::InitGoogleTest(&argc, argv);
  const std::optional<CommandLine> command = ReadCommandLine(argc, argv);
  if (!command) {
    std::cerr << "usage: shardcts-rank --plan PLAN.json [--rank R] (started by `shardcts run` or its launcher)\n";
    return 2;
  }
  at::set_num_threads(1);  // ranks share the machine's cores
  const Plan plan = ReadPlan(command->plan);
  std::optional<MpiSession> mpi;
  std::optional<RankNumber> number;
  if (command->rank) {
    number = RankNumber{*command->rank, plan.world_size};
  } else if (DataCommunicator::NeedsMpi(plan)) {
    mpi.emplace(&argc, &argv);
    number = RankNumber{mpi->rank(), mpi->world_size()};
  } else {
    number = RankNumberOfLauncher();
  }
  ControlConnection connection(plan.pool_folder, number ? number->rank : -1, kControlPatience);
  const int rank = connection.rank();
  RedirectOutput(RankLog(plan.pool_folder, rank));
  ReportCrashes(EventFile(plan.pool_folder, rank), rank);
  EventLog events(EventFile(plan.pool_folder, rank), rank);
  events.Write("rank_started", {{"pid", getpid()},
                                {"host", HostName()},
                                {"world_size", number && number->world_size ? *number->world_size : plan.world_size},
                                {"stack_signal", AnswerStackSignal()},
                                {"start", warm ? "warm" : "cold"}});
  UsePoolTemporaries();
  if (!command->rank) EndWithParent(EventFile(plan.pool_folder, rank), rank);
  ControlPlane control(connection);
  try {
    const int code = RunRank(plan, control, events);
    connection.Tell(Farewell{});
    return code;
  } catch (const EventFileFailure& failure) {
    connection.Tell(Farewell{failure.what()});
    throw;
  }
}

// What libraries do at the end of a process says nothing of the tests, and CPython and LibTorch take a second for it.
[[noreturn]] void Leave(int code) {
  std::cout.flush();
  std::fflush(nullptr);
  _exit(code);
}

}  // namespace
}  // namespace shardcts

int main(int argc, char** argv) {
  try {
    std::vector<std::string> words(argv, argv + argc);
    const bool warm = argc == 3 && words[1] == "--warm";
    if (warm) words = shardcts::BecomeWarmProcess(argv[2]);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    shardcts::Leave(shardcts::Main(static_cast<int>(words.size()), arguments.data(), warm));
  } catch (const std::exception& error) {
    std::cerr << "shardcts-rank: " << error.what() << std::endl;
    shardcts::Leave(3);
  }
}
