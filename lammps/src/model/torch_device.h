// SPDX-License-Identifier: MIT
//
// Which device a model runs on, and whether it can.

#pragma once

#include "model.h"

#include <c10/core/Device.h>

namespace mlip {

/// The device the file and the user ask for. Throws ModelError where there is none, or the processor lacks
/// what the code of the file needs.
c10::Device choose_device(const ModelMetadata &metadata, const DeviceRequest &request);

/// Memory of a GPU, where torch says.
std::optional<DeviceMemory> memory_of(c10::Device device);

} // namespace mlip
