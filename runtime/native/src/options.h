// What callers of the C header hand over by pointer.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>

#include "error.h"

namespace farrier {

template <class T>
T& given(T* pointer, const char* name) {
  if (pointer == nullptr) fail("E_OPTION", std::string(name) + " is NULL");
  return *pointer;
}

// Of a caller that was built against a shorter or a longer struct.
template <class Options>
Options read_options(const Options* given) {
  Options out = {};
  if (given == nullptr) return out;
  if (given->size < sizeof(uint32_t)) fail("E_OPTION", "an option struct's size is not set", "set size to sizeof the struct");
  std::memcpy(&out, given, std::min<size_t>(given->size, sizeof out));
  return out;
}

// As much of a result as the caller's struct has room for; its size stays what it is.
template <class Result>
void write_result(Result result, Result* to) {
  result.size = to->size;
  std::memcpy(to, &result, std::min<size_t>(result.size, sizeof result));
}

}  // namespace farrier
