// plan.json, parsed and checked: docs/bundle.md has its rules.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "dtype.h"
#include "expr.h"
#include "json.h"

namespace farrier {

struct Symbol {
  int64_t min = 0, max = 0, divisor = 1;
};

struct SourceSpec {
  enum class From : uint8_t { bundle, file, random, none };
  std::string name;
  const DType* dtype = nullptr;
  std::vector<int64_t> shape;
  uint64_t bytes = 0;
  From from = From::none;
  std::string file;     // of `file`
  uint64_t offset = 0;  // in it
  uint64_t seed = 0;    // of `random`
  double scale = 0, shift = 0;
};

struct TensorSpec {
  std::string name;
  const DType* dtype = nullptr;
  std::vector<Expr> shape;
};

struct StateSpec {
  std::string name;
  uint64_t bytes = 0;
};

struct KernelSpec {
  std::string symbol, file;
  std::string access;  // of each buffer: r, w or b; "" if the plan does not tell
  uint32_t threads = 0;
  uint64_t shared_bytes = 0, scratch_bytes = 0;
  bool dependent = false;  // waits for the kernel before itself
};

struct Buffer {
  enum class Kind : uint8_t { arena, weight, source, input, output, state, status, tickets };
  Kind kind = Kind::arena;
  uint64_t offset = 0;  // of arena
  uint64_t bytes = 0;   // of arena
  uint32_t index = 0;   // of all but arena, status and tickets
};

struct Step {
  uint32_t kernel = 0;
  std::vector<Buffer> buffers;
  std::vector<Expr> scalars;
  Expr grid[3];  // CPU: tasks in the first
  std::string label;
};

// What is wrong with how steps use memory, by what their kernels read and write; "" if nothing: an arena range that is read
// was written before, as a whole, and nothing written since overlaps it; weights, sources and inputs are only read.
std::string memory_fault(const std::vector<KernelSpec>& kernels, const std::vector<Step>& steps, int64_t own_weight);

struct Range {
  size_t symbol = 0;
  int64_t min = 0, max = 0;
};

struct Plan {
  std::vector<Range> box;
  uint64_t arena_bytes = 0;
  std::vector<Step> steps;
  bool uses_state = false, uses_status = false;
  uint32_t tickets = 0;  // u32 counters, zero before the first step
};

struct WeightSpec {
  std::string name;
  uint64_t bytes = 0;
  int64_t alias = -1;
  uint64_t arena_bytes = 0;
  std::vector<Step> steps;
};

struct Entry {
  std::string name;
  std::vector<TensorSpec> inputs, outputs;
};

struct TargetPlans {
  std::string name;
  bool cpu = false;
  std::vector<KernelSpec> kernels;
  std::vector<std::pair<std::string, std::string>> libraries;  // instruction set -> file
  std::vector<WeightSpec> weights;
  std::vector<std::vector<Plan>> plans;  // by entry
};

struct PlanFile {
  std::vector<std::string> symbol_names;
  std::vector<Symbol> symbols;
  std::vector<SourceSpec> sources;
  std::vector<StateSpec> states;
  std::vector<Entry> entries;
  std::vector<TargetPlans> targets;
  std::vector<std::pair<int64_t, std::string>> checks;

  explicit PlanFile(const std::string& text);
  // E_RT_ENTRY.
  size_t entry(const std::string& name) const;
};

// Values of symbols, and which are known.
struct Symbols {
  std::vector<int64_t> values;
  std::vector<bool> known;
};

// Binds the symbols of an entry's inputs and checks dtype, rank and shape. Inputs that are
// nullptr are left out if `partial`. E_RT_INPUT, E_RT_PROFILE.
void bind_symbols(const PlanFile& plan, const Entry& entry, const farrier_tensor* const* inputs, size_t count,
                  bool partial, Symbols& symbols);
// The first plan whose box holds the symbols. E_RT_PROFILE.
size_t choose_plan(const PlanFile& file, const std::vector<Plan>& plans, const Symbols& symbols);

}  // namespace farrier
