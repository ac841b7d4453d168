#include "plan.h"

#include <algorithm>
#include <cstdlib>

#include "error.h"

namespace farrier {
namespace {

using json::Field;

constexpr const char* code = "E_PLAN";
constexpr int64_t max_bytes = int64_t{1} << 50;
constexpr uint64_t arena_align = 16;
constexpr int64_t max_tickets = 1 << 24;

const DType* dtype_of(const Field& field) {
  const DType* dtype = dtype_named(field.string());
  if (dtype == nullptr) field.refuse("a dtype, not " + quoted(field.string()));
  return dtype;
}

template <class Item, class Read>
std::vector<Item> list(const Field& field, Read&& read) {
  std::vector<Item> out;
  out.reserve(field.size());
  for (size_t i = 0; i < field.size(); i++) out.push_back(read(field[i]));
  return out;
}

std::vector<int64_t> literal_shape(const Field& field) {
  return list<int64_t>(field, [](const Field& dim) { return dim.integer(0, max_bytes); });
}

uint64_t bytes_of(const Field& field, const DType& dtype, const std::vector<int64_t>& shape) {
  int64_t bytes = 0;
  if (!byte_size(dtype, shape, bytes) || bytes > max_bytes) field.refuse("a tensor that can be addressed");
  return static_cast<uint64_t>(bytes);
}

class Reader {
 public:
  explicit Reader(PlanFile& plan) : plan_(plan) {}

  void read(const Field& at) {
    if (at["format"].integer() != 1) at["format"].refuse("1");
    const Field symbols = at["symbols"];
    for (size_t i = 0; i < symbols.size(); i++) symbol(symbols[i]);
    plan_.sources = list<SourceSpec>(at["sources"], [&](const Field& f) { return source(f); });
    plan_.states = list<StateSpec>(at["states"], [&](const Field& f) { return state(f); });
    plan_.entries = list<Entry>(at["entries"], [&](const Field& f) { return entry(f); });
    const Field targets = at["targets"];
    for (const json::Member& member : targets.members()) plan_.targets.push_back(target(member.first, targets.member(member)));
    const Field checks = at["checks"];
    for (const json::Member& member : checks.members()) {
      const Field text = checks.member(member);
      char* end = nullptr;
      const long site = std::strtol(member.first.c_str(), &end, 10);
      if (member.first.empty() || *end != '\0' || site == 0) text.refuse("a status word other than 0 as its key");
      plan_.checks.emplace_back(site, text.string());
    }
  }

 private:
  void symbol(const Field& f) {
    Symbol s;
    s.min = f["min"].integer();
    s.max = f["max"].integer(s.min, INT64_MAX);
    s.divisor = f["divisor"].integer(1, INT64_MAX);
    const std::string& name = f["name"].string();
    if (std::count(plan_.symbol_names.begin(), plan_.symbol_names.end(), name) != 0) f["name"].refuse("a name of its own");
    plan_.symbol_names.push_back(name);
    plan_.symbols.push_back(s);
  }

  static SourceSpec source(const Field& f) {
    SourceSpec s;
    s.name = f["name"].string();
    s.dtype = dtype_of(f["dtype"]);
    s.shape = literal_shape(f["shape"]);
    s.bytes = static_cast<uint64_t>(f["bytes"].integer(0, max_bytes));
    if (s.bytes != bytes_of(f["shape"], *s.dtype, s.shape)) f["bytes"].refuse("shape times dtype");
    const Field from = f["from"];
    const std::string& kind = from["kind"].string();
    if (kind == "bundle") {
      s.from = SourceSpec::From::bundle;
    } else if (kind == "file") {
      s.from = SourceSpec::From::file;
      s.file = from["file"].string();
      s.offset = static_cast<uint64_t>(from["offset"].integer(0, INT64_MAX));
    } else if (kind == "random") {
      s.from = SourceSpec::From::random;
      s.seed = static_cast<uint64_t>(from["seed"].integer());
      s.scale = from["scale"].number();
      s.shift = from["shift"].number();
    } else if (kind != "none") {
      from["kind"].refuse("bundle, file, random or none, not " + quoted(kind));
    }
    return s;
  }

  static StateSpec state(const Field& f) {
    if (f["layout"].string() != "contiguous") f["layout"].refuse("contiguous");
    return {f["name"].string(), bytes_of(f["shape"], *dtype_of(f["dtype"]), literal_shape(f["shape"]))};
  }

  Expr expr(const Field& f) const { return {f, plan_.symbol_names}; }

  TensorSpec tensor(const Field& f) const {
    const Field shape = f["shape"];
    if (shape.size() > FARRIER_MAX_RANK) shape.refuse("at most 8 dimensions");
    return {f["name"].string(), dtype_of(f["dtype"]), list<Expr>(shape, [&](const Field& dim) { return expr(dim); })};
  }

  Entry entry(const Field& f) const {
    Entry e;
    e.name = f["name"].string();
    e.inputs = list<TensorSpec>(f["inputs"], [&](const Field& t) { return tensor(t); });
    e.outputs = list<TensorSpec>(f["outputs"], [&](const Field& t) { return tensor(t); });
    std::vector<bool> used(plan_.symbols.size()), bound = fixed();
    bind(e, bound);
    for (const auto* tensors : {&e.inputs, &e.outputs})
      for (const TensorSpec& t : *tensors)
        for (const Expr& dim : t.shape) dim.collect(used);
    check_bound(f, used, bound);
    return e;
  }

  KernelSpec kernel(const Field& f, bool cpu) const {
    KernelSpec k;
    k.symbol = f["symbol"].string();
    k.file = f["file"].string();
    f["family"].string();
    if (!cpu) k.threads = static_cast<uint32_t>(f["threads"].integer(1, 1024));
    if (f.has("access")) {
      k.access = f["access"].string();
      if (k.access.find_first_not_of("rwb") != std::string::npos) f["access"].refuse("letters r, w and b");
    }
    if (f.has("sharedBytes")) k.shared_bytes = static_cast<uint64_t>(f["sharedBytes"].integer(0, 1 << 30));
    if (f.has("dependent")) k.dependent = f["dependent"].boolean();
    if (f.has("scratchBytes")) k.scratch_bytes = static_cast<uint64_t>(f["scratchBytes"].integer(0, 1 << 30));
    return k;
  }

  // Limits of the buffers that a step may name.
  struct Scope {
    const TargetPlans& target;
    uint64_t arena_bytes = 0;
    size_t weights = 0;
    const Entry* entry = nullptr;  // nullptr: a step of the weight program
    Plan* plan = nullptr;
  };

  Buffer buffer(const Field& f, const Scope& scope) const {
    const std::string& kind = f["kind"].string();
    const auto index = [&](Buffer::Kind k, size_t count, bool allowed) {
      if (!allowed) f["kind"].refuse("weight, source or arena in the weight program");
      return Buffer{k, 0, 0, static_cast<uint32_t>(f["index"].integer(0, static_cast<int64_t>(count) - 1))};
    };
    const bool run = scope.entry != nullptr;
    if (kind == "arena") {
      const auto bytes = static_cast<uint64_t>(f["bytes"].integer(0, max_bytes));
      const auto offset = static_cast<uint64_t>(f["offset"].integer(0, max_bytes));
      if (offset % arena_align != 0) f["offset"].refuse("a multiple of 16");
      if (offset > scope.arena_bytes || bytes > scope.arena_bytes - offset)
        f.refuse("a range within the arena of " + std::to_string(scope.arena_bytes) + " bytes");
      return {Buffer::Kind::arena, offset, bytes, 0};
    }
    if (kind == "weight") return index(Buffer::Kind::weight, scope.weights, true);
    if (kind == "source") return index(Buffer::Kind::source, plan_.sources.size(), true);
    if (kind == "input") return index(Buffer::Kind::input, run ? scope.entry->inputs.size() : 0, run);
    if (kind == "output") return index(Buffer::Kind::output, run ? scope.entry->outputs.size() : 0, run);
    if (kind == "state") {
      if (run) scope.plan->uses_state = true;
      return index(Buffer::Kind::state, plan_.states.size(), run);
    }
    if (kind == "status" && run) {
      scope.plan->uses_status = true;
      return {Buffer::Kind::status, 0, 0, 0};
    }
    if (kind == "tickets" && run) {
      f["count"].integer(1, scope.plan->tickets);
      return {Buffer::Kind::tickets, 0, 0, 0};
    }
    f["kind"].refuse("a kind of buffer that this loader knows, not " + quoted(kind));
  }

  Step step(const Field& f, const Scope& scope) const {
    if (f["kind"].string() != "kernel") f["kind"].refuse("kernel: this loader knows no other step, such as " + quoted(f["kind"].string()));
    Step s;
    s.kernel = static_cast<uint32_t>(f["kernel"].integer(0, static_cast<int64_t>(scope.target.kernels.size()) - 1));
    s.buffers = list<Buffer>(f["buffers"], [&](const Field& b) { return buffer(b, scope); });
    const std::string& access = scope.target.kernels[s.kernel].access;
    if (!access.empty() && access.size() != s.buffers.size()) f["buffers"].refuse("as many as the kernel's access has letters");
    s.scalars = list<Expr>(f["scalars"], [&](const Field& e) { return expr(e); });
    if (scope.target.cpu) {
      s.grid[0] = expr(f["tasks"]);
    } else {
      if (f["grid"].size() != 3) f["grid"].refuse("three expressions");
      for (size_t i = 0; i < 3; i++) s.grid[i] = expr(f["grid"][i]);
    }
    s.label = f["label"].string();
    check_symbols(f, s, scope);
    return s;
  }

  static void check_memory(const Field& f, const TargetPlans& target, const std::vector<Step>& steps, int64_t own_weight) {
    const std::string fault = memory_fault(target.kernels, steps, own_weight);
    if (!fault.empty()) f.refuse("steps that find what others left them: " + fault);
  }

  // Symbols of the expressions must be known when they are evaluated.
  void check_symbols(const Field& f, const Step& s, const Scope& scope) const {
    std::vector<bool> used(plan_.symbols.size()), bound = fixed();
    for (const Expr& e : s.scalars) e.collect(used);
    for (const Expr& e : s.grid) e.collect(used);
    if (scope.entry != nullptr) bind(*scope.entry, bound);
    check_bound(f, used, bound);
  }

  void check_bound(const Field& f, const std::vector<bool>& used, const std::vector<bool>& bound) const {
    for (size_t i = 0; i < used.size(); i++)
      if (used[i] && !bound[i]) f.refuse("expressions over symbols that an input binds, not " + quoted(plan_.symbol_names[i]));
  }

  std::vector<bool> fixed() const {
    std::vector<bool> out;
    for (const Symbol& s : plan_.symbols) out.push_back(s.min == s.max);
    return out;
  }

  static void bind(const Entry& entry, std::vector<bool>& bound) {
    for (const TensorSpec& input : entry.inputs)
      for (const Expr& dim : input.shape)
        if (dim.symbol() >= 0) bound[static_cast<size_t>(dim.symbol())] = true;
  }

  Plan plan(const Field& f, const TargetPlans& target, const Entry& entry) const {
    Plan p;
    const Field box = f["box"];
    for (const json::Member& member : box.members()) {
      const Field range = box.member(member);
      const auto name = std::find(plan_.symbol_names.begin(), plan_.symbol_names.end(), member.first);
      if (name == plan_.symbol_names.end()) range.refuse("a symbol as its key");
      if (range.size() != 2) range.refuse("two integers");
      p.box.push_back({static_cast<size_t>(name - plan_.symbol_names.begin()), range[size_t{0}].integer(), range[1].integer()});
    }
    p.arena_bytes = static_cast<uint64_t>(f["arenaBytes"].integer(0, max_bytes));
    if (f.has("tickets")) p.tickets = static_cast<uint32_t>(f["tickets"].integer(0, max_tickets));
    const Scope scope{target, p.arena_bytes, target.weights.size(), &entry, &p};
    p.steps = list<Step>(f["steps"], [&](const Field& s) { return step(s, scope); });
    check_memory(f["steps"], target, p.steps, -1);
    return p;
  }

  WeightSpec weight(const Field& f, const TargetPlans& target) const {
    WeightSpec w;
    w.name = f["name"].string();
    dtype_of(f["dtype"]);
    w.bytes = static_cast<uint64_t>(f["bytes"].integer(0, max_bytes));
    if (f.has("alias")) {
      w.alias = f["alias"].integer(0, static_cast<int64_t>(plan_.sources.size()) - 1);
      if (plan_.sources[static_cast<size_t>(w.alias)].bytes != w.bytes) f["bytes"].refuse("the bytes of the source that it is an alias of");
      return w;
    }
    if (f.has("arenaBytes")) w.arena_bytes = static_cast<uint64_t>(f["arenaBytes"].integer(0, max_bytes));
    const Scope scope{target, w.arena_bytes, target.weights.size() + 1, nullptr, nullptr};
    w.steps = list<Step>(f["steps"], [&](const Field& s) { return step(s, scope); });
    check_memory(f["steps"], target, w.steps, static_cast<int64_t>(target.weights.size()));
    return w;
  }

  TargetPlans target(const std::string& name, const Field& f) const {
    TargetPlans t;
    t.name = name;
    t.cpu = name == "cpu";
    t.kernels = list<KernelSpec>(f["kernels"], [&](const Field& k) { return kernel(k, t.cpu); });
    if (t.cpu) {
      const Field libraries = f["libraries"];
      for (const json::Member& member : libraries.members()) t.libraries.emplace_back(member.first, libraries.member(member).string());
    }
    const Field weights = f["weights"];
    for (size_t i = 0; i < weights.size(); i++) t.weights.push_back(weight(weights[i], t));
    const Field entries = f["entries"];
    if (entries.members().size() != plan_.entries.size()) entries.refuse("plans for every entry and no other");
    for (const Entry& entry : plan_.entries)
      t.plans.push_back(list<Plan>(entries[entry.name], [&](const Field& p) { return plan(p, t, entry); }));
    return t;
  }

  PlanFile& plan_;
};

}  // namespace

PlanFile::PlanFile(const std::string& text) {
  const json::Value root = json::parse(text, {code, "plan.json"});
  Reader(*this).read(Field(root, "plan.json", code));
}

size_t PlanFile::entry(const std::string& name) const {
  std::string known;
  for (size_t i = 0; i < entries.size(); i++) {
    if (entries[i].name == name) return i;
    known += (i > 0 ? ", " : "") + entries[i].name;
  }
  fail("E_RT_ENTRY", "the bundle has no entry " + quoted(name), "it has " + known);
}

}  // namespace farrier
