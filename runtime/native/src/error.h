// Errors inside the runtime are exceptions; `guard` turns them into codes at the C header.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <string_view>

#include "farrier.h"

namespace farrier {

class Error : public std::exception {
 public:
  Error(std::string code, std::string text) : code_(std::move(code)), text_(std::move(text)) {}
  const char* what() const noexcept override { return text_.c_str(); }
  const std::string& code() const { return code_; }
  const std::string& text() const { return text_; }

 private:
  std::string code_, text_;
};

// "E_CODE: message (hint)".
[[noreturn]] void fail(const char* code, const std::string& message, const std::string& hint = {});
// What a name or a value of a file looks like in a message: printable, short, quoted.
std::string quoted(std::string_view text);
farrier_class class_of(std::string_view code);

// Records the error for the calling thread; never throws.
int record(const Error& error) noexcept;
int record(const char* code, const char* text) noexcept;
const char* last_text() noexcept;
const char* last_code() noexcept;

template <class Body>
int guard(Body&& body) noexcept {
  try {
    body();
    return FARRIER_OK;
  } catch (const Error& error) {
    return record(error);
  } catch (const std::bad_alloc&) {
    return record("E_RT_OOM", "E_RT_OOM: out of host memory");
  } catch (const std::exception& error) {
    return record("E_INTERNAL", error.what());
  } catch (...) {
    return record("E_INTERNAL", "E_INTERNAL: unknown failure (this is a defect of farrier: please report it)");
  }
}

}  // namespace farrier
