// SPDX-License-Identifier: MIT
//
// Arrays that grow and never shrink: from step to step a system needs nearly the same memory, and allocations
// on a GPU stop everything that runs there. Needs Kokkos, but not LAMMPS.

#pragma once

#include <Kokkos_Core.hpp>

#include <cstdint>
#include <string>

namespace mlip {

template <class T, class DeviceType>
using DeviceArray = Kokkos::View<T *, Kokkos::LayoutRight, DeviceType>;

/// Iterations are counted in 64 bits: 100,000 atoms with 90 neighbours and three components each are 27
/// million.
template <class DeviceType>
using DeviceRange = Kokkos::RangePolicy<DeviceType, Kokkos::IndexType<std::int64_t>>;

/// Makes room for `size` elements, with some in reserve. What the array held is lost where it had to grow.
template <class T, class DeviceType>
void reserve(DeviceArray<T, DeviceType> &array, std::int64_t size, const char *label) {
  const auto needed = static_cast<std::size_t>(size);
  if (array.extent(0) >= needed) return;
  array = {}; // freed first: both together may not fit
  array = DeviceArray<T, DeviceType>(Kokkos::view_alloc(std::string(label), Kokkos::WithoutInitializing),
                                     needed + needed / 4);
}

template <class T, class DeviceType>
double memory_of(const DeviceArray<T, DeviceType> &array) {
  return static_cast<double>(array.extent(0) * sizeof(T));
}

/// `size` rounded up in steps of 3 to 6 %, so that a fluctuating number takes few values.
inline std::int64_t bucket(std::int64_t size) {
  std::int64_t step = 16;
  while (step * 32 <= size) step *= 2;
  return (size + step - 1) / step * step;
}

} // namespace mlip
