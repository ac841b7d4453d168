#include "error.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace farrier {
namespace {

struct Last {
  char code[32] = "";
  char text[16384] = "";
};
thread_local Last last;

struct ClassOfCode {
  std::string_view code;
  farrier_class value;
};

// Codes that are not plain bad input: the same table as compiler/errors.ts.
constexpr ClassOfCode classes[] = {
    {"E_TARGET", FARRIER_UNSUPPORTED},  {"E_UNSUPPORTED", FARRIER_UNSUPPORTED},
    {"E_TYPE_UNSUPPORTED", FARRIER_UNSUPPORTED},
    {"E_NO_DEVICE", FARRIER_DEVICE},    {"E_RT_OOM", FARRIER_DEVICE},
    {"E_RT_DEVICE", FARRIER_DEVICE},    {"E_RT_DEAD", FARRIER_DEVICE},
    {"E_MODULE", FARRIER_DEVICE},       {"E_LAUNCH", FARRIER_DEVICE},
    {"E_DEVICE_LOST", FARRIER_DEVICE},  {"E_IO", FARRIER_IO},
    {"E_INTERNAL", FARRIER_INTERNAL},
};

template <size_t N>
void copy(char (&to)[N], const char* from) {
  const size_t n = std::min(std::strlen(from), N - 1);
  std::memcpy(to, from, n);
  to[n] = 0;
}

}  // namespace

void fail(const char* code, const std::string& message, const std::string& hint) {
  std::string text = std::string(code) + ": " + message;
  if (!hint.empty()) text += " (" + hint + ")";
  throw Error(code, std::move(text));
}

std::string quoted(std::string_view text) {
  constexpr size_t longest = 120;
  std::string out = "\"";
  for (const char c : text.substr(0, longest)) {
    const auto u = static_cast<unsigned char>(c);
    if (u >= 0x20 && u != 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      constexpr char hex[] = "0123456789abcdef";
      out += "\\x";
      out += hex[u >> 4];
      out += hex[u & 15];
    }
  }
  return out + (text.size() > longest ? "…\"" : "\"");
}

farrier_class class_of(std::string_view code) {
  const auto* found = std::find_if(std::begin(classes), std::end(classes),
                                   [&](const ClassOfCode& c) { return c.code == code; });
  return found == std::end(classes) ? FARRIER_BAD_INPUT : found->value;
}

int record(const char* code, const char* text) noexcept {
  copy(last.code, code);
  copy(last.text, text);
  return class_of(code);
}

int record(const Error& error) noexcept { return record(error.code().c_str(), error.what()); }
const char* last_text() noexcept { return last.text; }
const char* last_code() noexcept { return last.code; }

}  // namespace farrier
