// SPDX-License-Identifier: MIT

#include "tensor_transfer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstring>

namespace mlip {

at::Tensor TensorTransfer::to_device(const std::string &name, const void *data, at::IntArrayRef shape,
                                     at::ScalarType type, Space space) {
  auto *array = const_cast<void *>(data); // models don't write to their inputs
  if (space == Space::device || device_.is_cpu())
    return at::from_blob(array, shape, at::TensorOptions(type).device(device_));
  const auto view = at::from_blob(array, shape, at::TensorOptions(type));
  const auto size = view.numel();
  if (size == 0) return at::empty(shape, at::TensorOptions(type).device(device_));
  const auto staged = pinned("in " + name, size, type);
  std::memcpy(staged.mutable_data_ptr(), data, view.nbytes());
  return staged.to(device_, /*non_blocking=*/true).view(shape);
}

at::Tensor TensorTransfer::zeros(std::int64_t rows) {
  if (!zeros_.defined() || zeros_.size(0) < rows)
    zeros_ = at::zeros({rows + rows / 5, 3}, at::TensorOptions(at::kDouble).device(device_));
  return zeros_.narrow(0, 0, rows);
}

at::Tensor TensorTransfer::to_space(const std::string &name, const at::Tensor &result, Space space) {
  const auto values = result.detach().to(at::kDouble).contiguous();
  if (space == Space::device || values.is_cpu()) return values;
  const auto host = pinned("out " + name, values.numel(), at::kDouble);
  host.copy_(values.view({-1}), /*non_blocking=*/true);
  return host;
}

void TensorTransfer::wait() const {
  if (!device_.is_cpu()) c10::impl::VirtualGuardImpl(device_.type()).getStream(device_).synchronize();
}

at::Tensor TensorTransfer::pinned(const std::string &name, std::int64_t size, at::ScalarType type) {
  auto &buffer = pinned_[name];
  if (!buffer.defined() || buffer.numel() < size)
    buffer = at::empty({size + size / 5}, at::TensorOptions(type).pinned_memory(true));
  return buffer.narrow(0, 0, size);
}

} // namespace mlip
