// A strict JSON reader: duplicate keys, bad UTF-8, trailing text and deep nesting are errors; integers
// stay integers.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace farrier::json {

class Value;
using Member = std::pair<std::string, Value>;

enum class Type : uint8_t { null, boolean, integer, number, string, array, object };

class Value {
 public:
  Type type = Type::null;
  bool boolean = false;
  int64_t integer = 0;
  double number = 0;  // of integers too
  std::string string;
  std::vector<Value> array;
  std::vector<Member> object;

  // nullptr where this is no object or has no such member.
  const Value* find(std::string_view key) const;
};

struct Source {
  const char* code;  // of the error for text that is no JSON
  std::string file;  // for messages
};

Value parse(std::string_view text, const Source& source);

// Typed access with a path for messages: `Field(root, "plan.json", "E_PLAN")["sources"][3]`.
class Field {
 public:
  Field(const Value& value, std::string path, const char* code)
      : value_(&value), path_(std::move(path)), code_(code) {}

  const Value& raw() const { return *value_; }
  const std::string& path() const { return path_; }
  bool has(std::string_view key) const;
  Field operator[](std::string_view key) const;  // member; an error if absent
  Field operator[](size_t index) const;          // element; the array is known to have it
  size_t size() const;                           // of an array
  const std::vector<Member>& members() const;    // of an object
  Field member(const Member& member) const { return {member.second, path_ + "." + member.first, code_}; }

  const std::string& string() const;
  int64_t integer() const;
  int64_t integer(int64_t min, int64_t max) const;
  double number() const;
  bool boolean() const;
  [[noreturn]] void refuse(const std::string& expected) const;

 private:
  const Value* value_;
  std::string path_;
  const char* code_;
};

}  // namespace farrier::json
