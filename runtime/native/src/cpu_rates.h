// What this machine's cores read from memory and multiply in a second.
#pragma once

#include "device.h"

namespace farrier {

Rates cpu_rates(Device& cpu);

}  // namespace farrier
