// The socket by which this process is connected to a controller, for faults of that connection. *Local*; Linux.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace shardcts {

// -1: there is none.
inline int OwnControlSocket() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    const int number = std::atoi(entry.path().filename().c_str());
    sockaddr_un peer{};
    socklen_t length = sizeof peer;
    if (::getpeername(number, reinterpret_cast<sockaddr*>(&peer), &length) != 0 || peer.sun_family != AF_UNIX) continue;
    const size_t begin = offsetof(sockaddr_un, sun_path) + 1;
    if (length <= begin) continue;
    if (std::string(peer.sun_path + 1, length - begin).starts_with("shardcts-control-")) return number;
  }
  return -1;
}

}  // namespace shardcts
