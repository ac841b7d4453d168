// The C header over devices: memory, copies, streams.
#include "device.h"
#include "options.h"

using namespace farrier;

namespace {

// Runs `body` with the device current.
template <class Body>
int on(farrier_device* device, Body&& body) {
  return guard([&] {
    const auto object = object_of<Device>(device);
    const Device::Scope scope(*object);
    body(*object);
  });
}

// The same for what frees: on a device that is lost there is nothing to free.
template <class Body>
int on_living(farrier_device* device, Body&& body) {
  return guard([&] {
    const auto object = object_of<Device>(device);
    if (object->is_dead()) return;
    const Device::Scope scope(*object);
    body(*object);
  });
}

}  // namespace

extern "C" {

int farrier_device_open(int32_t type, int32_t id, farrier_device** device) {
  return guard([&] {
    if (device == nullptr) fail("E_OPTION", "device is NULL");
    if (type != FARRIER_CPU && type != FARRIER_CUDA) fail("E_UNSUPPORTED", "device type " + std::to_string(type) + " is not supported", "CPU is 1, CUDA is 2");
    *device = static_cast<farrier_device*>(open_handle(type == FARRIER_CPU ? open_cpu() : open_cuda(id)));
  });
}

int farrier_device_release(farrier_device* device) {
  return guard([&] { close_handle(device, Kind::device); });
}

int farrier_device_describe(const farrier_device* device, const char** json, size_t* bytes) {
  return guard([&] {
    const auto object = object_of<Device>(device);
    if (json != nullptr) *json = object->description().c_str();
    if (bytes != nullptr) *bytes = object->description().size();
  });
}

int farrier_device_alloc(farrier_device* device, size_t bytes, void** address) {
  return on(device, [&](Device& d) {
    if (address == nullptr) fail("E_OPTION", "address is NULL");
    *address = d.user_alloc(bytes);
  });
}

int farrier_device_free(farrier_device* device, void* address) {
  return on_living(device, [&](Device& d) { d.user_free(address); });
}

int farrier_device_copy_in(farrier_device* device, void* to, const void* host, size_t bytes, farrier_stream stream) {
  return on(device, [&](Device& d) { d.copy_in(to, host, bytes, stream); });
}

int farrier_device_copy_out(farrier_device* device, void* host, const void* from, size_t bytes, farrier_stream stream) {
  return on(device, [&](Device& d) { d.copy_out(host, from, bytes, stream); });
}

int farrier_device_zero(farrier_device* device, void* to, size_t bytes, farrier_stream stream) {
  return on(device, [&](Device& d) { d.zero(to, bytes, stream); });
}

int farrier_stream_create(farrier_device* device, farrier_stream* stream) {
  return on(device, [&](Device& d) {
    if (stream == nullptr) fail("E_OPTION", "stream is NULL");
    *stream = d.create_stream();
  });
}

int farrier_stream_destroy(farrier_device* device, farrier_stream stream) {
  return on_living(device, [&](Device& d) { d.destroy_stream(stream); });
}

int farrier_stream_sync(farrier_device* device, farrier_stream stream) {
  return on(device, [&](Device& d) { d.sync(stream); });
}

int farrier_device_rates(farrier_device* device, farrier_rates* rates) {
  return on(device, [&](Device& d) {
    farrier_rates out = read_options(&given(rates, "rates"));
    const Rates found = d.rates();
    out.bytes = found.bytes;
    out.operations = found.operations;
    write_result(out, rates);
  });
}

}  // extern "C"
