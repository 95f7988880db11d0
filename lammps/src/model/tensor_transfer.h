// SPDX-License-Identifier: MIT
//
// Arrays of the caller as tensors on the model's device, and back. Arrays that are there already are used in
// place; between host and GPU, copies go through pinned memory that is kept from step to step.

#pragma once

#include "model.h"

#include <ATen/Tensor.h>
#include <c10/core/Device.h>

#include <map>
#include <string>
#include <vector>

namespace mlip {

class TensorTransfer {
 public:
  void set_device(c10::Device device) { device_ = device; }

  /// A tensor on the device with the contents of an array in `space`. `name` tells the buffers of several
  /// arrays apart.
  at::Tensor to_device(const std::string &name, const void *data, at::IntArrayRef shape, at::ScalarType type,
                       Space space);

  /// Zeros of the shape (rows, 3) on the device, made once.
  at::Tensor zeros(std::int64_t rows);

  /// A float64 tensor in `space` with the contents of a result; complete after `wait()`.
  at::Tensor to_space(const std::string &name, const at::Tensor &result, Space space);

  /// Waits for what was enqueued on the device.
  void wait() const;

 private:
  at::Tensor pinned(const std::string &name, std::int64_t size, at::ScalarType type);

  c10::Device device_{c10::kCPU};
  std::map<std::string, at::Tensor> pinned_;
  at::Tensor zeros_;
};

} // namespace mlip
