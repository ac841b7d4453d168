#include "expr.h"

#include <algorithm>
#include <iterator>
#include <string_view>

#include "error.h"

namespace farrier {
namespace {

constexpr std::string_view names[] = {"", "", "add", "sub", "mul", "div", "mod", "min", "max", "select", "lt", "le", "eq", "ne"};
constexpr int max_depth = 64;

[[noreturn]] void overflow() {
  fail("E_PLAN", "a host expression overflows 64 bits", "the bundle is damaged, or a size is beyond what it can address");
}

int64_t floor_div(int64_t a, int64_t b) {
  if (b == 0) fail("E_PLAN", "a host expression divides by 0");
  if (b == -1) {
    int64_t out = 0;
    if (__builtin_sub_overflow(int64_t{0}, a, &out)) overflow();
    return out;
  }
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0) ? 1 : 0);
}

int64_t floor_mod(int64_t a, int64_t b) {
  if (b == 0) fail("E_PLAN", "a host expression divides by 0");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

}  // namespace

Expr::Expr(const json::Field& field, const std::vector<std::string>& symbols) : nodes_() {
  root_ = parse(field, symbols, 0);
}

uint32_t Expr::parse(const json::Field& field, const std::vector<std::string>& symbols, int depth) {
  if (depth > max_depth) field.refuse("an expression nested at most 64 deep");
  const auto push = [&](Node node) {
    nodes_.push_back(node);
    return static_cast<uint32_t>(nodes_.size() - 1);
  };
  const json::Value& value = field.raw();
  if (value.type == json::Type::integer) return push({Op::literal, 0, 0, 0, value.integer});
  if (value.type == json::Type::string) {
    const auto found = std::find(symbols.begin(), symbols.end(), value.string);
    if (found == symbols.end()) field.refuse("the name of a symbol, not " + quoted(value.string));
    return push({Op::symbol, 0, 0, 0, found - symbols.begin()});
  }
  if (value.type != json::Type::array || value.array.empty()) field.refuse("a host expression");
  const std::string& name = field[size_t{0}].string();
  const auto* found = std::find(std::begin(names) + 2, std::end(names), name);
  if (found == std::end(names)) field.refuse("an operator of host expressions, not " + quoted(name));
  const auto op = static_cast<Op>(found - std::begin(names));
  const size_t count = value.array.size() - 1;
  const bool any = op == Op::add || op == Op::mul || op == Op::min || op == Op::max;
  const size_t wanted = op == Op::select ? 3 : 2;
  if (any ? count < 1 : count != wanted)
    field.refuse(std::to_string(any ? 1 : wanted) + (any ? " argument or more for " : " arguments for ") + quoted(name));
  uint32_t arguments[3] = {};
  for (size_t i = 0; i < count; i++) {
    const uint32_t argument = parse(field[i + 1], symbols, depth + 1);
    if (any && i > 0) arguments[0] = push({op, arguments[0], argument, 0, 0});
    else arguments[any ? 0 : i] = argument;
  }
  return any ? arguments[0] : push({op, arguments[0], arguments[1], arguments[2], 0});
}

int64_t Expr::node(uint32_t index, const std::vector<int64_t>& symbols) const {
  const Node& n = nodes_[index];
  if (n.op == Op::literal) return n.value;
  if (n.op == Op::symbol) return symbols[static_cast<size_t>(n.value)];
  const int64_t a = node(n.a, symbols);
  if (n.op == Op::select) return node(a != 0 ? n.b : n.c, symbols);
  const int64_t b = node(n.b, symbols);
  int64_t out = 0;
  switch (n.op) {
    case Op::add: if (__builtin_add_overflow(a, b, &out)) overflow(); return out;
    case Op::sub: if (__builtin_sub_overflow(a, b, &out)) overflow(); return out;
    case Op::mul: if (__builtin_mul_overflow(a, b, &out)) overflow(); return out;
    case Op::div: return floor_div(a, b);
    case Op::mod: return floor_mod(a, b);
    case Op::min: return std::min(a, b);
    case Op::max: return std::max(a, b);
    case Op::lt: return a < b;
    case Op::le: return a <= b;
    case Op::eq: return a == b;
    default: return a != b;
  }
}

void Expr::collect(std::vector<bool>& used) const {
  for (const Node& n : nodes_)
    if (n.op == Op::symbol) used[static_cast<size_t>(n.value)] = true;
}

}  // namespace farrier
