// The reference implementation with faults, each in one test, on one rank, at one operation, as the file named by the
// option `faults` says: {TEST: {"kind": KIND, "rank": 1, "operation": 7, "phase": 2}}. Operations count from 1 after the
// seed at the begin of the test, or of its phase, which only a test with phases has. Kinds:
//
//   kill   the rank's process is killed
//   segv   the rank's thread gets SIGSEGV
//   sleep  the rank never comes back
//   stop   the rank's process is stopped
//   half_close  the rank's connection to the controller is closed in one direction
//   noise  the rank sends the controller what follows no protocol
//   error  the operation answers with an error, and not one of its collectives is joined
//   throw  the same, but the library throws, which the contract forbids
//   nan    the first answer from here on that is a plain tensor is NaN
#include <ATen/ATen.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "adapters/loader.h"
#include "control/testing/own_connection.h"

namespace shardcts {
namespace {

using Json = nlohmann::json;

class Faulty final : public Implementation {
 public:
  explicit Faulty(const ImplementationContext& context)
      : inner_(LoadImplementation("reference", Inner(context))),
        rank_(context.rank),
        events_(context.run_folder + "/rank-" + std::to_string(context.rank) + ".events.jsonl") {
    const auto file = context.options.find("faults");
    if (file == context.options.end()) throw std::invalid_argument("option faults=FILE is missing");
    faults_ = Json::parse(std::ifstream(file->second));
  }

  Outcome Invoke(std::string_view operation, const Dict& arguments) override {
    if (operation == "implementation.seed") StartTest();
    if (operation.starts_with("implementation.") || ++operations_ < fault_operation_ || fault_.empty()) {
      return inner_->Invoke(operation, arguments);
    }
    if (fault_ == "kill") ::kill(::getpid(), SIGKILL);
    if (fault_ == "segv") ::raise(SIGSEGV);
    while (fault_ == "sleep") ::sleep(1);
    if (fault_ == "stop") ::kill(::getpid(), SIGSTOP);
    if (fault_ == "half_close") ::shutdown(OwnControlSocket(), SHUT_WR);
    if (fault_ == "noise") [[maybe_unused]] const ssize_t sent = ::send(OwnControlSocket(), "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL);
    const std::string text = "seeded fault in operation " + std::to_string(operations_);
    const std::string fault = std::exchange(fault_, "");
    if (fault == "error") return Error{"SeededFault", text};
    if (fault == "throw") throw std::runtime_error(text);
    if (fault == "half_close" || fault == "noise") return inner_->Invoke(operation, arguments);
    Outcome outcome = inner_->Invoke(operation, arguments);
    if (outcome.ok() && outcome.value().type() == Value::Type::kTensor)
      return Value(at::full_like(outcome.value().AsTensor(), NAN));
    fault_ = fault;  // the next answer
    return outcome;
  }

 private:
  static ImplementationContext Inner(ImplementationContext context) {
    context.options.erase("faults");
    return context;
  }

  // The rank has said in its event file which test it has begun.
  void StartTest() {
    operations_ = 0;
    fault_.clear();
    std::string test;
    Json phase;
    std::ifstream events(events_);
    for (std::string line; std::getline(events, line);) {
      const Json event = Json::parse(line);
      if (event["event"] == "test_started") test = event["test"], phase = event.value("phase", Json());
    }
    if (!faults_.contains(test) || faults_[test]["rank"] != rank_ || faults_[test].value("phase", Json()) != phase) return;
    fault_ = faults_[test]["kind"];
    fault_operation_ = faults_[test]["operation"];
  }

  std::unique_ptr<Implementation> inner_;
  const int rank_;
  const std::string events_;
  Json faults_;
  std::string fault_;  // of the running test on this rank, not shown yet
  int64_t fault_operation_ = 0;
  int64_t operations_ = 0;
};

std::unique_ptr<Implementation> MakeFaulty(const ImplementationContext& context) {
  return std::make_unique<Faulty>(context);
}

}  // namespace
}  // namespace shardcts

SHARDCTS_IMPLEMENTATION(::shardcts::MakeFaulty)
