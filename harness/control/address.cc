#include "control/address.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "run_files/input_error.h"
#include "run_files/json_file.h"
#include "run_files/run_folder.h"

namespace shardcts {
namespace {

constexpr uintmax_t kMaxAddressFileBytes = 4096;

[[noreturn]] void Fail(const std::string& what) { throw std::runtime_error(what + ": " + std::strerror(errno)); }

std::pair<sockaddr_un, socklen_t> UnixAddress(const std::string& name) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name.empty() || name.size() + 1 > sizeof(address.sun_path)) {
    throw std::runtime_error("Unix socket name of " + std::to_string(name.size()) + " bytes");
  }
  std::memcpy(address.sun_path + 1, name.data(), name.size());  // behind a zero byte: abstract, no file
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())};
}

Descriptor NewSocket(int family) {
  Descriptor socket(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.number() < 0) Fail("socket");
  if (family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(socket.number(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(socket.number(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    for (const auto& [option, seconds] : {std::pair{TCP_KEEPIDLE, 10}, {TCP_KEEPINTVL, 5}, {TCP_KEEPCNT, 3}}) {
      ::setsockopt(socket.number(), IPPROTO_TCP, option, &seconds, sizeof seconds);
    }
  }
  return socket;
}

using AddressList = std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)>;

AddressList Resolve(const std::string& host, int port) {
  addrinfo wanted{};
  wanted.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &found);
  if (error != 0) throw std::runtime_error(host + ": " + ::gai_strerror(error));
  return {found, &::freeaddrinfo};
}

bool IsLoopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return (ntohl(reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr) >> 24) == 127;
  }
  return IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

std::string NumbersOf(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET) {
    ::inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  } else {
    ::inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  }
  return text;
}

// False with errno when there is no connection within the limit.
bool ConnectWithin(int socket, const sockaddr* address, socklen_t length, std::chrono::milliseconds limit) {
  ::fcntl(socket, F_SETFL, O_NONBLOCK);
  if (::connect(socket, address, length) != 0) {
    if (errno != EINPROGRESS && errno != EAGAIN) return false;
    pollfd watched{socket, POLLOUT, 0};
    if (::poll(&watched, 1, static_cast<int>(limit.count())) != 1) {
      errno = ETIMEDOUT;
      return false;
    }
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
      errno = error;
      return false;
    }
  }
  ::fcntl(socket, F_SETFL, 0);
  return true;
}

Descriptor ConnectToUnix(const std::string& name, std::chrono::milliseconds limit) {
  Descriptor socket = NewSocket(AF_UNIX);
  const auto [address, length] = UnixAddress(name);
  if (!ConnectWithin(socket.number(), reinterpret_cast<const sockaddr*>(&address), length, limit)) return Descriptor();
  return PeerIsThisUser(socket.number()) ? std::move(socket) : Descriptor();
}

}  // namespace

std::filesystem::path ControlFile(const std::filesystem::path& pool_folder) { return pool_folder / "control.json"; }

void WriteControlAddress(const std::filesystem::path& pool_folder, const ControlAddress& address) {
  const nlohmann::ordered_json json = {{"token", address.token},
                                       {"unix", address.unix_name},
                                       {"host", address.tcp_host},
                                       {"port", address.tcp_port}};
  WriteFileAtomically(ControlFile(pool_folder), json.dump() + "\n", 0600);
}

ControlAddress ReadControlAddress(const std::filesystem::path& pool_folder) {
  const std::filesystem::path file = ControlFile(pool_folder);
  const auto json = ReadJsonFile(file, kMaxAddressFileBytes);
  try {
    return {json.at("token").get<std::string>(), json.at("unix").get<std::string>(), json.at("host").get<std::string>(),
            json.at("port").get<int>()};
  } catch (const nlohmann::ordered_json::exception& error) {
    throw InputError(file.string() + ": " + error.what());
  }
}

std::string RandomToken() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) Fail("getrandom");
  std::string token;
  for (const unsigned char byte : bytes) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", byte);
    token += digits;
  }
  return token;
}

Descriptor ListenOnUnix(const std::string& name) {
  Descriptor socket = NewSocket(AF_UNIX);
  const auto [address, length] = UnixAddress(name);
  if (::bind(socket.number(), reinterpret_cast<const sockaddr*>(&address), length) != 0) Fail("socket " + name);
  if (::listen(socket.number(), SOMAXCONN) != 0) Fail("socket " + name);
  return socket;
}

Descriptor ListenOnTcp(const std::string& host, int* port) {
  const AddressList found = Resolve(host, 0);
  Descriptor socket = NewSocket(found->ai_family);
  if (::bind(socket.number(), found->ai_addr, found->ai_addrlen) != 0) Fail("address " + host);
  if (::listen(socket.number(), SOMAXCONN) != 0) Fail("address " + host);
  sockaddr_storage bound{};
  socklen_t length = sizeof bound;
  if (::getsockname(socket.number(), reinterpret_cast<sockaddr*>(&bound), &length) != 0) Fail("address " + host);
  *port = ntohs(bound.ss_family == AF_INET ? reinterpret_cast<const sockaddr_in&>(bound).sin_port
                                           : reinterpret_cast<const sockaddr_in6&>(bound).sin6_port);
  return socket;
}

Descriptor ConnectTo(const ControlAddress& address, std::chrono::milliseconds limit) {
  Descriptor socket = ConnectToUnix(address.unix_name, limit);
  if (socket.number() >= 0) return socket;
  if (address.tcp_host.empty()) Fail("the controller cannot be reached on this host");
  const std::string name = address.tcp_host + ":" + std::to_string(address.tcp_port);
  const AddressList found = Resolve(address.tcp_host, address.tcp_port);
  for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
    socket = NewSocket(one->ai_family);
    if (ConnectWithin(socket.number(), one->ai_addr, one->ai_addrlen, limit)) return socket;
  }
  Fail("the controller cannot be reached at " + name);
}

bool PeerIsThisUser(int unix_socket) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(unix_socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == ::geteuid();
}

std::string AddressOfThisHost() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  try {
    const AddressList found = Resolve(name, 0);
    for (const addrinfo* one = found.get(); one != nullptr; one = one->ai_next) {
      if (!IsLoopback(one->ai_addr)) return NumbersOf(one->ai_addr);
    }
  } catch (const std::runtime_error&) {  // a name that nothing knows: the interfaces say
  }
  ifaddrs* interfaces = nullptr;
  if (::getifaddrs(&interfaces) != 0) return "127.0.0.1";
  const std::unique_ptr<ifaddrs, decltype(&::freeifaddrs)> owner(interfaces, &::freeifaddrs);
  for (const ifaddrs* one = interfaces; one != nullptr; one = one->ifa_next) {
    const bool is_up = (one->ifa_flags & IFF_UP) != 0;
    const bool is_ip4 = one->ifa_addr != nullptr && one->ifa_addr->sa_family == AF_INET;
    if (is_up && is_ip4 && !IsLoopback(one->ifa_addr)) return NumbersOf(one->ifa_addr);
  }
  return "127.0.0.1";
}

}  // namespace shardcts
