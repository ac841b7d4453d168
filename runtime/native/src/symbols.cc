// Symbols from the shapes of inputs, and the plan for them.
#include "error.h"
#include "plan.h"

namespace farrier {
namespace {

std::string at(const TensorSpec& spec) { return "input " + quoted(spec.name); }

void check_form(const TensorSpec& spec, const farrier_tensor& tensor) {
  if (!same_dtype(*spec.dtype, tensor.dtype))
    fail("E_RT_INPUT", at(spec) + " is " + dtype_text(tensor.dtype) + ", expected " + std::string(spec.dtype->name));
  if (tensor.ndim < 0 || static_cast<size_t>(tensor.ndim) != spec.shape.size())
    fail("E_RT_INPUT", at(spec) + " has " + std::to_string(tensor.ndim) + " dimensions, expected " + std::to_string(spec.shape.size()));
  if (tensor.ndim > 0 && tensor.shape == nullptr) fail("E_RT_INPUT", at(spec) + " has no shape");
}

void bind_symbol(const PlanFile& plan, const TensorSpec& spec, size_t dim, size_t symbol, int64_t value, Symbols& out) {
  const Symbol& range = plan.symbols[symbol];
  const std::string& name = plan.symbol_names[symbol];
  const auto where = [&] { return at(spec) + ", dimension " + std::to_string(dim) + ": " + name + "=" + std::to_string(value); };
  if (out.known[symbol] && out.values[symbol] != value)
    fail("E_RT_INPUT", where() + ", but another input has " + name + "=" + std::to_string(out.values[symbol]));
  if (value > range.max) fail("E_RT_PROFILE", where() + ", max " + std::to_string(range.max), "compile with --dim " + name + "=LO..HI");
  if (value < range.min) fail("E_RT_PROFILE", where() + ", min " + std::to_string(range.min), "compile with --dim " + name + "=LO..HI");
  if (value % range.divisor != 0) fail("E_RT_PROFILE", where() + ", not a multiple of " + std::to_string(range.divisor));
  out.known[symbol] = true;
  out.values[symbol] = value;
}

bool evaluable(const Expr& expr, const Symbols& symbols, std::vector<bool>& used) {
  used.assign(symbols.known.size(), false);
  expr.collect(used);
  for (size_t i = 0; i < used.size(); i++)
    if (used[i] && !symbols.known[i]) return false;
  return true;
}

}  // namespace

void bind_symbols(const PlanFile& plan, const Entry& entry, const farrier_tensor* const* inputs, size_t count,
                  bool partial, Symbols& symbols) {
  if (count != entry.inputs.size())
    fail("E_RT_INPUT", "entry " + quoted(entry.name) + " has " + std::to_string(entry.inputs.size()) + " inputs, " + std::to_string(count) + " were given");
  symbols.values.assign(plan.symbols.size(), 0);
  symbols.known.assign(plan.symbols.size(), false);
  for (size_t i = 0; i < plan.symbols.size(); i++) {
    if (plan.symbols[i].min != plan.symbols[i].max) continue;
    symbols.values[i] = plan.symbols[i].min;
    symbols.known[i] = true;
  }
  for (size_t i = 0; i < count; i++) {
    const TensorSpec& spec = entry.inputs[i];
    if (inputs[i] == nullptr) {
      if (!partial) fail("E_RT_INPUT", at(spec) + " is absent");
      continue;
    }
    check_form(spec, *inputs[i]);
    for (size_t d = 0; d < spec.shape.size(); d++)
      if (const int symbol = spec.shape[d].symbol(); symbol >= 0)
        bind_symbol(plan, spec, d, static_cast<size_t>(symbol), inputs[i]->shape[d], symbols);
  }
  std::vector<bool> used;
  for (size_t i = 0; i < count; i++) {
    const TensorSpec& spec = entry.inputs[i];
    for (size_t d = 0; inputs[i] != nullptr && d < spec.shape.size(); d++) {
      // With all inputs there, every symbol of a shape is known: plan.json was checked for that.
      if (partial && !evaluable(spec.shape[d], symbols, used)) continue;
      if (const int64_t wanted = spec.shape[d].eval(symbols.values); wanted != inputs[i]->shape[d])
        fail("E_RT_INPUT", at(spec) + " has shape " + shape_text(inputs[i]->shape, spec.shape.size()) + ": dimension " + std::to_string(d) +
                               " is " + std::to_string(inputs[i]->shape[d]) + ", expected " + std::to_string(wanted));
    }
  }
}

size_t choose_plan(const PlanFile& file, const std::vector<Plan>& plans, const Symbols& symbols) {
  for (size_t i = 0; i < plans.size(); i++) {
    bool inside = true;
    for (const Range& range : plans[i].box) {
      const int64_t value = symbols.values[range.symbol];
      inside = inside && (!symbols.known[range.symbol] || (value >= range.min && value <= range.max));
    }
    if (inside) return i;
  }
  std::string values;
  for (size_t i = 0; i < file.symbol_names.size(); i++)
    if (symbols.known[i]) values += (values.empty() ? "" : ", ") + file.symbol_names[i] + "=" + std::to_string(symbols.values[i]);
  fail("E_RT_PROFILE", "no plan of the bundle is for " + (values.empty() ? "these inputs" : values), "compile with --dim ranges that include it");
}

}  // namespace farrier
