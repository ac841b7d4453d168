#include "object.h"

#include <mutex>
#include <shared_mutex>
#include <vector>

namespace farrier {
namespace {

constexpr const char* names[] = {"", "bundle", "device", "weights", "state", "exec", "graph"};
constexpr int index_bits = 20;

struct Slot {
  std::shared_ptr<Object> object;
  uint64_t generation = 1;
};

struct Table {
  std::shared_mutex mutex;
  std::vector<Slot> slots = std::vector<Slot>(1);
  std::vector<size_t> free;
};

Table& table() {
  static Table* table = new Table;  // outlives threads that still hold handles
  return *table;
}

[[noreturn]] void stale(Kind kind, const void* handle) {
  const std::string name = names[static_cast<int>(kind)];
  fail("E_RT_HANDLE", handle == nullptr ? "the " + name + " is NULL" : "the handle is of no " + name + " that is open", "it was released before, or is of another object");
}

Slot* slot_of(Table& t, const void* handle, Kind kind) {
  const auto bits = reinterpret_cast<uintptr_t>(handle);
  const size_t index = bits & ((size_t{1} << index_bits) - 1);
  if (index == 0 || index >= t.slots.size()) return nullptr;
  Slot& slot = t.slots[index];
  const bool good = slot.object != nullptr && slot.generation == bits >> index_bits && slot.object->kind == kind;
  return good ? &slot : nullptr;
}

}  // namespace

void* open_handle(std::shared_ptr<Object> object) {
  Table& t = table();
  const std::unique_lock lock(t.mutex);
  size_t index = t.slots.size();
  if (!t.free.empty()) {
    index = t.free.back();
    t.free.pop_back();
  } else {
    if (index >> index_bits != 0) fail("E_RT_HANDLE", "more than a million handles are open", "release those that are not used");
    t.slots.emplace_back();
  }
  t.slots[index].object = std::move(object);
  return reinterpret_cast<void*>(static_cast<uintptr_t>(t.slots[index].generation << index_bits | index));
}

std::shared_ptr<Object> find_handle(const void* handle, Kind kind) {
  Table& t = table();
  const std::shared_lock lock(t.mutex);
  const Slot* slot = slot_of(t, handle, kind);
  if (slot == nullptr) stale(kind, handle);
  return slot->object;
}

std::shared_ptr<Object> close_handle(const void* handle, Kind kind) {
  if (handle == nullptr) return nullptr;
  Table& t = table();
  const std::unique_lock lock(t.mutex);
  Slot* slot = slot_of(t, handle, kind);
  if (slot == nullptr) stale(kind, handle);
  slot->generation++;
  t.free.push_back(static_cast<size_t>(slot - t.slots.data()));
  return std::move(slot->object);
}

}  // namespace farrier
