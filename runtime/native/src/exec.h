// An entry ready to run, and graphs recorded from it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "weights.h"

namespace farrier {

// The buffers of one run, as the caller gave them.
struct Arguments {
  const farrier_tensor* const* inputs = nullptr;
  size_t n_inputs = 0;
  const farrier_tensor* const* outputs = nullptr;
  size_t n_outputs = 0;
  void* workspace = nullptr;
  uint64_t workspace_bytes = 0;
};

class Exec : public Object {
 public:
  static constexpr Kind object_kind = Kind::exec;
  Exec(std::shared_ptr<Weights> weights, const std::string& entry, std::shared_ptr<State> state);

  Device& device() const { return *weights_->device(); }
  void set_state(std::shared_ptr<State> state);
  const Plan& choose(const farrier_tensor* const* inputs, size_t count, size_t& index);
  void run(const Arguments& arguments, Stream stream);
  void check_status();
  std::unique_ptr<Graph> capture(const Arguments& arguments);
  void graph_launched(Stream stream) { last_stream_ = stream; }
  Times profile(const Arguments& arguments, Stream stream, int repeats);
  void run_steps(const Arguments& arguments, Stream stream, size_t first, size_t count);

  // One caller at a time: E_RT_BUSY for another.
  class Turn {
   public:
    explicit Turn(Exec& exec) : exec_(exec) {
      if (exec_.busy_.exchange(true)) fail("E_RT_BUSY", "the exec is running in another thread", "make one exec for each thread: they share weights");
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() { exec_.busy_ = false; }

   private:
    Exec& exec_;
  };

 private:
  const Entry& entry() const { return weights_->bundle().plan().entries[entry_]; }
  const Plan& prepare(const Arguments& arguments);
  void check_memory(const TensorSpec& spec, const farrier_tensor& tensor, const char* what, void*& at, uint64_t& bytes) const;
  void check_outputs(const Arguments& arguments);
  void check_aliases(const Plan& plan, const Arguments& arguments) const;
  void* address(const Buffer& buffer) const;
  bool step(const Step& step, Stream stream, bool after_kernel);  // false: an empty grid
  void steps(const Plan& plan, Stream stream);
  void clear_status(const Plan& plan, Stream stream);
  void read_status();

  std::shared_ptr<Weights> weights_;
  size_t entry_;
  std::shared_ptr<State> state_;
  Memory status_;
  std::atomic<bool> busy_ = false;
  bool checks_ = false;  // the last run had a status word
  Stream last_stream_ = nullptr;

  // Of the run at hand; members so that a run allocates nothing.
  Symbols symbols_;
  std::vector<void*> inputs_, outputs_;
  std::vector<uint64_t> input_bytes_, output_bytes_;
  uint8_t* arena_ = nullptr;
  std::vector<void*> buffers_;
  std::vector<int64_t> scalars_;
};

class RecordedGraph : public Object {
 public:
  static constexpr Kind object_kind = Kind::graph;
  RecordedGraph(std::shared_ptr<Exec> exec, const Arguments& arguments);
  void launch(Stream stream);

 private:
  std::shared_ptr<Exec> exec_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace farrier
