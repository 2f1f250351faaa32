// Script: a list of operations to run on an implementation without a test program (docs/formats.md).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "contract/json_codec.h"
#include "recording/blobs.h"

namespace shardcts {

class Caller;
struct Recording;
class Session;

struct ScriptStep {
  std::string place;   // "steps[3]", for messages
  std::string let;     // name of the result; may be empty
  int64_t number = 0;  // what $ref calls the step
  std::string operation;
  std::vector<Json> arguments;  // one for all ranks, or one per rank
  std::vector<int> ranks;       // empty: all
  bool among = false;           // a collective operation of these ranks only, as a subgroup
  Json expect;                  // null: nothing is expected
  bool recorded = false;        // has recorded outcomes, which the caller compares: an error is no failure
};

struct Script {
  std::string file;
  int world_size = 1;
  int64_t seed = 0;
  std::string test;  // of a recording, else empty
  std::string device = "cpu";  // the device type that it was made on or written for
  std::string role;            // of a phase: "save" or "load"; empty: the script has no phases
  std::vector<ScriptStep> steps;
  std::shared_ptr<const BlobSource> blobs;  // never null
};

// Local. `path` may be all that ReadRecording reads. Checks everything that can be checked without running: format,
// contract version, operations, arguments that are written in full, references to steps that do not exist. Throws
// InputError naming file and step.
Script ReadScript(const std::string& path);
Script ReadScript(const Recording& recording, const std::string& path);
// The same of a file that may have phases, one script for each.
std::vector<Script> ReadScripts(const Recording& recording, const std::string& path);

// Local. Makes a script for this device type: it stands wherever the script's own stood, in arguments, in those that are
// left out, and in what is expected. Throws InputError when a step names a device that the script's own does not cover:
// another device type, or one device by its number.
void UseDevice(Script& script, const std::string& device);

// Local. A decoded value with the tensors that its text writes out on the devices that the text names. Throws
// ContractViolation when this process has no such device.
Value OnTheirDevices(const Json& text, Value value);

struct ScriptResult {
  int64_t steps = 0;                  // run by this rank
  std::vector<std::string> failures;  // an expectation that did not hold, one line each
};

// *Collective* over the pool. Runs the steps of this rank. An operation that fails without being expected to is a
// failure; the script goes on, and steps that use the missing result fail, too.
// `folder`: what "${folder}" stands for, of a phase.
ScriptResult RunScript(const Script& script, Session& session, const std::string& folder = "");

}  // namespace shardcts
