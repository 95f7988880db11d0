// SPDX-License-Identifier: MIT

#include "torch_device.h"

#include <ATen/DeviceAccelerator.h>
#include <torch/cuda.h>
#include <torch/version.h>

#include <algorithm>

namespace mlip {

namespace {

/// Running code for AVX512 on a machine without it ends in an illegal instruction, far from the cause.
void require_cpu_isa([[maybe_unused]] const ModelMetadata &metadata) {
#ifdef __x86_64__
  const auto needs = [&](const char *isa) { return metadata.cpu_isa.find(isa) != std::string::npos; };
  if ((needs("AVX512") && !__builtin_cpu_supports("avx512f")) ||
      (needs("AVX2") && !__builtin_cpu_supports("avx2")))
    throw ModelError("model file '" + metadata.file + "' was compiled for a CPU with " + metadata.cpu_isa +
                     ", which this one lacks: compile it on this machine");
#endif
}

} // namespace

c10::Device choose_device(const ModelMetadata &metadata, const DeviceRequest &request) {
  using Kind = DeviceRequest::Kind;
  const std::string &compiled = metadata.device;
  if (!compiled.empty() && !compiled.starts_with("cpu") && !compiled.starts_with("cuda"))
    throw ModelError("model file '" + metadata.file + "' was compiled for the device '" + compiled +
                     "': compile it with nequip-compile --device cpu or --device cuda");
  if (request.kind == Kind::cpu && compiled.starts_with("cuda"))
    throw ModelError("model file '" + metadata.file +
                     "' was compiled for a GPU, but pair_style says 'device cpu': compile it with "
                     "nequip-compile --device cpu");
  if (request.kind == Kind::cuda && compiled.starts_with("cpu"))
    throw ModelError("model file '" + metadata.file +
                     "' was compiled for the CPU, but pair_style says 'device cuda': compile it with "
                     "nequip-compile --device cuda");

  const int gpus = static_cast<int>(torch::cuda::device_count());
  const bool cpu = request.kind == Kind::cpu || compiled.starts_with("cpu") ||
                   (request.kind == Kind::automatic && compiled.empty() && gpus == 0);
  if (cpu) {
    require_cpu_isa(metadata);
    return c10::kCPU;
  }
  if (gpus == 0 && compiled.empty())
    throw ModelError("pair_style says 'device cuda', but there is no GPU that torch can use here");
  if (gpus == 0)
    throw ModelError("model file '" + metadata.file +
                     "' was compiled for a GPU, but there is none that torch can use here: compile it with "
                     "nequip-compile --device cpu");
  if (request.index >= gpus)
    throw ModelError("pair_style says 'device cuda:" + std::to_string(request.index) + "', but torch finds " +
                     std::to_string(gpus) + " GPU(s) here, counted from 0");
  // A wrapper may have left each rank with one visible GPU: then all take number 0.
  const int index = request.index >= 0 ? request.index : request.rank_on_node % gpus;
  return {c10::kCUDA, static_cast<c10::DeviceIndex>(index)};
}

std::optional<DeviceMemory> memory_of([[maybe_unused]] c10::Device device) {
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 10
  if (device.is_cpu()) return std::nullopt;
  try {
    const auto [free, total] = at::accelerator::getMemoryInfo(device.index());
    const auto stats = at::accelerator::getDeviceStats(device.index());
    const auto kept = stats.reserved_bytes[0].current - stats.allocated_bytes[0].current;
    return DeviceMemory{static_cast<double>(free) + static_cast<double>(std::max<std::int64_t>(kept, 0)),
                        static_cast<double>(total)};
  } catch (const std::exception &) {
    return std::nullopt; // advice only: a run does not depend on it
  }
#else
  return std::nullopt;
#endif
}

} // namespace mlip
