// Host expressions of plan.json: parsed once, evaluated at launch with checked 64-bit arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "json.h"

namespace farrier {

class Expr {
 public:
  Expr() = default;
  // `symbols`: the plan's, in order; other names are an error.
  Expr(const json::Field& field, const std::vector<std::string>& symbols);

  int64_t eval(const std::vector<int64_t>& symbols) const { return node(root_, symbols); }
  // Index of the symbol that this exactly is, or -1.
  int symbol() const { return nodes_[root_].op == Op::symbol ? static_cast<int>(nodes_[root_].value) : -1; }
  bool is_literal() const { return nodes_[root_].op == Op::literal; }
  // Appends the symbols that it uses.
  void collect(std::vector<bool>& used) const;

 private:
  enum class Op : uint8_t { literal, symbol, add, sub, mul, div, mod, min, max, select, lt, le, eq, ne };
  struct Node {
    Op op = Op::literal;
    uint32_t a = 0, b = 0, c = 0;
    int64_t value = 0;
  };

  uint32_t parse(const json::Field& field, const std::vector<std::string>& symbols, int depth);
  int64_t node(uint32_t index, const std::vector<int64_t>& symbols) const;

  std::vector<Node> nodes_ = {Node{}};
  uint32_t root_ = 0;
};

}  // namespace farrier
