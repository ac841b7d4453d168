#include "json.h"

#include <charconv>
#include <unordered_set>

#include "error.h"

namespace farrier::json {
namespace {

constexpr int max_depth = 100;

class Parser {
 public:
  Parser(std::string_view text, const Source& source) : text_(text), source_(source) {}

  Value document() {
    Value value = parse(0);
    blanks();
    if (at_ != text_.size()) refuse("text after the end of the value");
    return value;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail(source_.code, source_.file + ", byte " + std::to_string(at_) + ": not valid JSON: " + what);
  }

  void blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      at_++;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void expect(char c) {
    if (peek() != c || at_ >= text_.size()) refuse(std::string("expected '") + c + "'");
    at_++;
  }
  bool take(std::string_view word) {
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }

  Value parse(int depth) {
    if (depth > max_depth) refuse("nested more than 100 deep");
    blanks();
    if (at_ >= text_.size()) refuse("it ends too early");
    Value value;
    switch (text_[at_]) {
      case '{': object(value, depth); break;
      case '[': array(value, depth); break;
      case '"': value.type = Type::string; value.string = string(); break;
      case 't': case 'f':
        value.type = Type::boolean;
        value.boolean = text_[at_] == 't';
        if (!take(value.boolean ? "true" : "false")) refuse("unknown word");
        break;
      case 'n': if (!take("null")) refuse("unknown word"); break;
      default: number(value);
    }
    return value;
  }

  void object(Value& value, int depth) {
    value.type = Type::object;
    at_++;
    blanks();
    if (peek() == '}') { at_++; return; }
    std::unordered_set<std::string> keys;
    for (;;) {
      blanks();
      if (peek() != '"') refuse("expected a key");
      std::string key = string();
      if (!keys.insert(key).second) refuse("key " + quoted(key) + " occurs twice");
      blanks();
      expect(':');
      value.object.emplace_back(std::move(key), parse(depth + 1));
      blanks();
      if (peek() == '}') { at_++; return; }
      expect(',');
    }
  }

  void array(Value& value, int depth) {
    value.type = Type::array;
    at_++;
    blanks();
    if (peek() == ']') { at_++; return; }
    for (;;) {
      value.array.push_back(parse(depth + 1));
      blanks();
      if (peek() == ']') { at_++; return; }
      expect(',');
    }
  }

  void number(Value& value) {
    const size_t start = at_;
    if (peek() == '-') at_++;
    const auto digits = [&] {
      const size_t from = at_;
      while (peek() >= '0' && peek() <= '9') at_++;
      if (at_ == from) refuse("expected a value");
    };
    if (peek() == '0') at_++; else digits();
    bool whole = true;
    if (peek() == '.') { whole = false; at_++; digits(); }
    if (peek() == 'e' || peek() == 'E') {
      whole = false;
      at_++;
      if (peek() == '+' || peek() == '-') at_++;
      digits();
    }
    const char* first = text_.data() + start;
    const char* last = text_.data() + at_;
    if (whole && std::from_chars(first, last, value.integer).ec == std::errc()) {
      value.type = Type::integer;
      value.number = static_cast<double>(value.integer);
      return;
    }
    value.type = Type::number;
    if (std::from_chars(first, last, value.number).ec != std::errc()) refuse("number out of range");
  }

  uint32_t hex4() {
    uint32_t code = 0;
    for (int i = 0; i < 4; i++, at_++) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
      if (digit < 0) refuse("bad \\u escape");
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    return code;
  }

  static void append(std::string& out, uint32_t code) {
    if (code < 0x80) { out += static_cast<char>(code); return; }
    const int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    constexpr unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    out += static_cast<char>(lead[extra] | (code >> (6 * extra)));
    for (int i = extra - 1; i >= 0; i--) out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3f));
  }

  void escape(std::string& out) {
    at_++;
    const char c = peek();
    at_++;
    switch (c) {
      case '"': case '\\': case '/': out += c; return;
      case 'b': out += '\b'; return;
      case 'f': out += '\f'; return;
      case 'n': out += '\n'; return;
      case 'r': out += '\r'; return;
      case 't': out += '\t'; return;
      case 'u': break;
      default: refuse("bad escape");
    }
    uint32_t code = hex4();
    if (code >= 0xdc00 && code < 0xe000) refuse("lone surrogate");
    if (code >= 0xd800 && code < 0xdc00) {
      if (!take("\\u")) refuse("lone surrogate");
      const uint32_t low = hex4();
      if (low < 0xdc00 || low >= 0xe000) refuse("lone surrogate");
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    append(out, code);
  }

  // One UTF-8 sequence: no overlong forms, no surrogates, nothing above U+10FFFF.
  void utf8(std::string& out) {
    const auto lead = static_cast<unsigned char>(text_[at_]);
    const size_t extra = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || at_ + extra >= text_.size()) refuse("bad UTF-8");
    uint32_t code = lead & (0x3fu >> extra);
    for (size_t i = 1; i <= extra; i++) {
      const auto c = static_cast<unsigned char>(text_[at_ + i]);
      if ((c & 0xc0) != 0x80) refuse("bad UTF-8");
      code = (code << 6) | (c & 0x3f);
    }
    constexpr uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (code < least[extra] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) refuse("bad UTF-8");
    out.append(text_.substr(at_, extra + 1));
    at_ += extra + 1;
  }

  std::string string() {
    std::string out;
    at_++;
    for (;;) {
      if (at_ >= text_.size()) refuse("unterminated string");
      const auto c = static_cast<unsigned char>(text_[at_]);
      if (c == '"') { at_++; return out; }
      if (c < 0x20) refuse("control character in a string");
      if (c == '\\') escape(out);
      else if (c < 0x80) { out += static_cast<char>(c); at_++; }
      else utf8(out);
    }
  }

  std::string_view text_;
  const Source& source_;
  size_t at_ = 0;
};

}  // namespace

const Value* Value::find(std::string_view key) const {
  for (const Member& member : object)
    if (member.first == key) return &member.second;
  return nullptr;
}

Value parse(std::string_view text, const Source& source) { return Parser(text, source).document(); }

void Field::refuse(const std::string& expected) const { fail(code_, path_ + ": expected " + expected); }

bool Field::has(std::string_view key) const { return value_->find(key) != nullptr; }

Field Field::operator[](std::string_view key) const {
  if (value_->type != Type::object) refuse("an object");
  const Value* found = value_->find(key);
  if (found == nullptr) fail(code_, path_ + "." + std::string(key) + ": is absent");
  return {*found, path_ + "." + std::string(key), code_};
}

Field Field::operator[](size_t index) const {
  return {value_->array[index], path_ + "[" + std::to_string(index) + "]", code_};
}

size_t Field::size() const {
  if (value_->type != Type::array) refuse("an array");
  return value_->array.size();
}

const std::vector<Member>& Field::members() const {
  if (value_->type != Type::object) refuse("an object");
  return value_->object;
}

const std::string& Field::string() const {
  if (value_->type != Type::string) refuse("a string");
  return value_->string;
}

int64_t Field::integer() const {
  if (value_->type != Type::integer) refuse("an integer");
  return value_->integer;
}

int64_t Field::integer(int64_t min, int64_t max) const {
  const int64_t value = integer();
  if (value < min || value > max)
    refuse("an integer from " + std::to_string(min) + " to " + std::to_string(max) + ", not " + std::to_string(value));
  return value;
}

double Field::number() const {
  if (value_->type != Type::integer && value_->type != Type::number) refuse("a number");
  return value_->number;
}

bool Field::boolean() const {
  if (value_->type != Type::boolean) refuse("true or false");
  return value_->boolean;
}

}  // namespace farrier::json
