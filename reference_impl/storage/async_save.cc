#include "storage/async_save.h"

#include "storage/together.h"
#include "tensor/semantic_error.h"

namespace shardcts::reference {

AsyncSave::AsyncSave(std::shared_ptr<Communicator> group, Files& files, const Dict& state_dict,
                     const SaveSettings& settings)
    : group_(std::move(group)) {
  steps_.emplace(*group_, files, settings);
  steps_->Prepare(state_dict);
  Together(*group_, [&]() -> Value {
    steps_->Plan();
    steps_->Stage();
    return {};
  });
  thread_ = std::thread([this] { Write(); });
}

AsyncSave::~AsyncSave() {
  if (thread_.joinable()) thread_.join();
}

void AsyncSave::Write() {
  try {
    part_ = steps_->Write();
  } catch (...) {
    failure_ = std::current_exception();
  }
  written_ = true;
}

void AsyncSave::WaitAndPublish() {
  thread_.join();
  const std::vector<Value> parts = Together(*group_, [&]() -> Value {
    if (failure_) std::rethrow_exception(failure_);
    return part_;
  });
  told_ = steps_->Publish(parts);
}

const std::vector<std::string>& AsyncSave::Wait() {
  if (!told_ && !complaint_) {
    try {
      WaitAndPublish();
    } catch (const std::exception& error) {  // also a peer that is gone
      complaint_ = error.what();
    }
    steps_.reset();
  }
  if (complaint_) throw SemanticError("CheckpointException", *complaint_);
  return *told_;
}

}  // namespace shardcts::reference
