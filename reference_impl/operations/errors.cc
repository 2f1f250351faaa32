#include "operations/errors.h"

#include <c10/util/Exception.h>

#include "comm/communicator.h"
#include "models/model_arguments.h"
#include "models/module.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

Error ErrorOfCurrentException() {
  try {
    throw;
  } catch (const SemanticError& error) {
    return {error.kind(), error.what()};
  } catch (const models::ModelArgumentError& error) {
    return {"ValueError", error.what()};
  } catch (const models::InputCountError& error) {
    return {"TypeError", error.what()};
  } catch (const ContractViolation& error) {
    return {"TypeError", error.what()};
  } catch (const CommunicationError& error) {
    return {"DistBackendError", error.what()};
  } catch (const c10::IndexError& error) {
    return {"IndexError", error.what_without_backtrace()};
  } catch (const c10::ValueError& error) {
    return {"ValueError", error.what_without_backtrace()};
  } catch (const c10::TypeError& error) {
    return {"TypeError", error.what_without_backtrace()};
  } catch (const c10::NotImplementedError& error) {
    return {"NotImplementedError", error.what_without_backtrace()};
  } catch (const c10::Error& error) {
    return {"RuntimeError", error.what_without_backtrace()};
  } catch (const std::exception& error) {
    return {"RuntimeError", error.what()};
  } catch (...) {
    return {"RuntimeError", "an exception that is no std::exception"};
  }
}

}  // namespace shardcts::reference
