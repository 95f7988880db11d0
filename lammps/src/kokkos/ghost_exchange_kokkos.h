// SPDX-License-Identifier: GPL-2.0-or-later
//
// Numbers per atom on their way between owners and ghosts, `width` for each atom and ghost of this rank.
// LAMMPS calls the pair style back to fill and empty its messages; the style passes these calls on to here.
//
// Rows are by LAMMPS index, not by graph atom: a ghost may come through a rank that has no edge to it.

#pragma once

#include "device_array.h"
#include "kokkos_type.h"

namespace LAMMPS_NS {

template <class DeviceType>
class GhostExchangeKokkos {
 public:
  using Range = mlip::DeviceRange<DeviceType>;
  template <class T>
  using HostMessage =
      Kokkos::View<T *, Kokkos::LayoutRight, LMPHostType, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;

  int width = 0;
  mlip::DeviceArray<double, DeviceType> values; ///< (atoms and ghosts, width)

  void resize(std::int64_t num_atoms, int new_width) {
    width = new_width;
    mlip::reserve(values, num_atoms * width, "mlip:exchange");
  }

  // Messages in the memory of the device.

  template <class List, class Message>
  int pack_owners(int n, const List &list, const Message &message) const;
  template <class Message>
  void unpack_ghosts(int n, int first, const Message &message) const;
  template <class Message>
  int pack_ghosts(int n, int first, const Message &message) const;
  template <class List, class Message>
  void add_to_owners(int n, const List &list, const Message &message) const;

  // Messages in the memory of the host: always so without a GPU, with one where the package command says so.

  int pack_owners_host(int n, const int *list, double *message) const;
  void unpack_ghosts_host(int n, int first, const double *message) const;
  int pack_ghosts_host(int n, int first, double *message) const;
  void add_to_owners_host(int n, const int *list, const double *message) const;

 private:
  /// The same memory where kernels can use it, else a copy.
  template <class T>
  static auto on_device(T *data, int size) {
    return Kokkos::create_mirror_view_and_copy(typename DeviceType::memory_space(),
                                               HostMessage<T>(data, size));
  }
};

template <class DeviceType>
template <class List, class Message>
int GhostExchangeKokkos<DeviceType>::pack_owners(int n, const List &list, const Message &message) const {
  const auto values = this->values;
  const int width = this->width;
  Kokkos::parallel_for(
      "mlip:pack_owners", Range(0, std::int64_t(n) * width), KOKKOS_LAMBDA(const std::int64_t k) {
        message(k) = values(std::int64_t(list(k / width)) * width + k % width);
      });
  return n * width;
}

template <class DeviceType>
template <class Message>
void GhostExchangeKokkos<DeviceType>::unpack_ghosts(int n, int first, const Message &message) const {
  const auto values = this->values;
  const std::int64_t start = std::int64_t(first) * width;
  Kokkos::parallel_for(
      "mlip:unpack_ghosts", Range(0, std::int64_t(n) * width),
      KOKKOS_LAMBDA(const std::int64_t k) { values(start + k) = message(k); });
}

template <class DeviceType>
template <class Message>
int GhostExchangeKokkos<DeviceType>::pack_ghosts(int n, int first, const Message &message) const {
  const auto values = this->values;
  const std::int64_t start = std::int64_t(first) * width;
  Kokkos::parallel_for(
      "mlip:pack_ghosts", Range(0, std::int64_t(n) * width),
      KOKKOS_LAMBDA(const std::int64_t k) { message(k) = values(start + k); });
  return n * width;
}

template <class DeviceType>
template <class List, class Message>
void GhostExchangeKokkos<DeviceType>::add_to_owners(int n, const List &list, const Message &message) const {
  const auto values = this->values;
  const int width = this->width;
  // A message names an atom at most once.
  Kokkos::parallel_for(
      "mlip:add_to_owners", Range(0, std::int64_t(n) * width), KOKKOS_LAMBDA(const std::int64_t k) {
        values(std::int64_t(list(k / width)) * width + k % width) += message(k);
      });
}

template <class DeviceType>
int GhostExchangeKokkos<DeviceType>::pack_owners_host(int n, const int *list, double *message) const {
  const auto there = on_device(message, n * width);
  const int size = pack_owners(n, on_device(list, n), there);
  Kokkos::deep_copy(HostMessage<double>(message, n * width), there);
  return size;
}

template <class DeviceType>
void GhostExchangeKokkos<DeviceType>::unpack_ghosts_host(int n, int first, const double *message) const {
  unpack_ghosts(n, first, on_device(message, n * width));
  DeviceType().fence();
}

template <class DeviceType>
int GhostExchangeKokkos<DeviceType>::pack_ghosts_host(int n, int first, double *message) const {
  const auto there = on_device(message, n * width);
  const int size = pack_ghosts(n, first, there);
  Kokkos::deep_copy(HostMessage<double>(message, n * width), there);
  return size;
}

template <class DeviceType>
void GhostExchangeKokkos<DeviceType>::add_to_owners_host(int n, const int *list,
                                                         const double *message) const {
  add_to_owners(n, on_device(list, n), on_device(message, n * width));
  DeviceType().fence();
}

} // namespace LAMMPS_NS
