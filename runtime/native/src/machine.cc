// What this machine offers to CPU kernels, and its fingerprint.
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <thread>
#include <vector>

#include "error.h"
#include "files.h"
#include "pool.h"
#include "sha256.h"

namespace farrier {

int available_cores();

namespace {

std::string trimmed(const std::string& text) {
  const char* blanks = " \t\r\n\v\f";
  const size_t first = text.find_first_not_of(blanks);
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(blanks) - first + 1);
}

// Cores' worth of time that a cgroup and those above it grant; 0 for no limit.
double quota_below(const std::string& root, std::string group, bool v2) {
  double least = 0;
  for (;;) {
    const std::string at = root + group;
    double quota = -1, period = 0;
    if (v2) {
      std::istringstream text(system_text((at + "/cpu.max").c_str()));
      std::string max;
      if (text >> max >> period && max != "max") quota = std::strtod(max.c_str(), nullptr);
    } else {
      quota = std::strtod(system_text((at + "/cpu.cfs_quota_us").c_str()).c_str(), nullptr);
      period = std::strtod(system_text((at + "/cpu.cfs_period_us").c_str()).c_str(), nullptr);
    }
    if (quota > 0 && period > 0) least = least == 0 ? quota / period : std::min(least, quota / period);
    if (group.empty() || group == "/") return least;
    group.resize(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
  }
}

double cgroup_quota() {
  std::istringstream lines(system_text("/proc/self/cgroup"));
  double least = 0;
  const auto limit = [&](double cores) {
    if (cores > 0) least = least == 0 ? cores : std::min(least, cores);
  };
  for (std::string line; std::getline(lines, line);) {
    // "0::/group" (version 2) or "4:cpu,cpuacct:/group" (version 1).
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    std::string controllers = ",";
    controllers.append(line, first + 1, second - first - 1).append(",");
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") limit(quota_below("/sys/fs/cgroup", group, true));
    else if (controllers.find(",cpu,") != std::string::npos) limit(quota_below("/sys/fs/cgroup/cpu", group, false));
  }
  return least;
}

std::string cpu_model() {
  std::istringstream lines(system_text("/proc/cpuinfo"));
  for (std::string line; std::getline(lines, line);)
    if (line.rfind("model name", 0) == 0 && line.find(':') != std::string::npos) return trimmed(line.substr(line.find(':') + 1));
  utsname names = {};
  return uname(&names) == 0 ? names.machine : "";
}

std::string machine_id() {
  for (const char* path : {"/etc/machine-id", "/var/lib/dbus/machine-id"})
    if (const std::string id = trimmed(system_text(path)); !id.empty()) return id;
  utsname names = {};
  return uname(&names) == 0 ? names.nodename : "";
}

}  // namespace

int available_cores() {
  int cores = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
#if defined(__linux__)
  // A set of fixed size fails on machines with more CPUs than it has bits.
  for (int bits = 1024; bits <= 1 << 20; bits *= 2) {
    cpu_set_t* set = CPU_ALLOC(bits);
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(bits);
    const bool known = sched_getaffinity(0, bytes, set) == 0;
    if (known) cores = std::max(1, CPU_COUNT_S(bytes, set));
    CPU_FREE(set);
    if (known) break;
  }
#endif
  const double quota = cgroup_quota();
  if (quota > 0) cores = std::clamp(static_cast<int>(quota + 0.999), 1, cores);
  return std::min(cores, 1024);
}

bool has_isa(const std::string& isa) {
#if defined(__x86_64__)
  if (isa == "avx2") return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 && __builtin_cpu_supports("f16c") != 0;
  if (isa == "avx512")
    return has_isa("avx2") && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
           __builtin_cpu_supports("avx512dq") != 0 && __builtin_cpu_supports("avx512vl") != 0;
#endif
  return isa == "portable";
}

std::string best_isa() {
  for (const char* isa : {"avx512", "avx2"})
    if (has_isa(isa)) return isa;
  return "portable";
}

const std::string& machine_fingerprint() {
  static const std::string fingerprint = [] {
    const std::string text = "farrier machine 1\n" + machine_id() + "\n" + cpu_model() + "\n";
    return sha256(text.data(), text.size());
  }();
  return fingerprint;
}

}  // namespace farrier
