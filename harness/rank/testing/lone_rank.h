// LoneRank: a session of one rank without controller and peers, for tests of what runs on a session.
#pragma once

#include <functional>

#include "rank/session.h"

namespace shardcts {

class LoneRank {
 public:
  using Invoke = std::function<Outcome(std::string_view operation, const Dict& arguments)>;

  explicit LoneRank(Invoke invoke, std::vector<std::string> capabilities = {})
      : implementation_(std::move(invoke)), session_(implementation_, control_, 0, 1, "cpu", std::move(capabilities)) {}
  Session& session() { return session_; }

 private:
  class Function : public Implementation {
   public:
    explicit Function(LoneRank::Invoke invoke) : invoke_(std::move(invoke)) {}
    Outcome Invoke(std::string_view operation, const Dict& arguments) override { return invoke_(operation, arguments); }

   private:
    LoneRank::Invoke invoke_;
  };

  Function implementation_;
  ControlPlane control_;
  Session session_;
};

}  // namespace shardcts
