// SPDX-License-Identifier: GPL-2.0-or-later
//
// Features between the layers of a model, and derivatives by them: by graph atom for the model, by LAMMPS
// atom where ranks exchange them.

#pragma once

#include "graph_kokkos.h"

namespace LAMMPS_NS {

/// What the centres have, and zero for atoms that are in no graph of this rank. Rows of ghosts are left to
/// their owners.
template <class DeviceType>
void centres_to_exchange(const GraphKokkos<DeviceType> &graph, int nlocal, int width, const double *by_node,
                         const mlip::DeviceArray<double, DeviceType> &by_atom) {
  const auto node_of = graph.node_of;
  const std::int64_t num_centres = by_node ? graph.num_centres : 0;
  Kokkos::parallel_for(
      "mlip:centres_out", mlip::DeviceRange<DeviceType>(0, std::int64_t(nlocal) * width),
      KOKKOS_LAMBDA(const std::int64_t k) {
        const std::int64_t node = node_of(k / width);
        by_atom(k) = node >= 0 && node < num_centres ? by_node[node * width + k % width] : 0.0;
      });
}

/// What all atoms of the graph have, and zero for atoms that are not in it.
template <class DeviceType>
void nodes_to_exchange(const GraphKokkos<DeviceType> &graph, int nall, int width, const double *by_node,
                       const mlip::DeviceArray<double, DeviceType> &by_atom) {
  const auto node_of = graph.node_of;
  const bool any = by_node != nullptr;
  Kokkos::parallel_for(
      "mlip:nodes_out", mlip::DeviceRange<DeviceType>(0, std::int64_t(nall) * width),
      KOKKOS_LAMBDA(const std::int64_t k) {
        const std::int64_t node = node_of(k / width);
        by_atom(k) = any && node >= 0 ? by_node[node * width + k % width] : 0.0;
      });
}

/// The first `count` atoms of the graph get what ranks have exchanged, the others and the padding zero.
template <class DeviceType>
void exchange_to_nodes(const GraphKokkos<DeviceType> &graph, std::int64_t count, int width,
                       const mlip::DeviceArray<double, DeviceType> &by_atom,
                       const mlip::DeviceArray<double, DeviceType> &by_node) {
  const auto atom_of = graph.atom_of;
  Kokkos::parallel_for(
      "mlip:exchange_in", mlip::DeviceRange<DeviceType>(0, graph.padded_atoms * width),
      KOKKOS_LAMBDA(const std::int64_t k) {
        const std::int64_t node = k / width;
        by_node(k) = node < count ? by_atom(std::int64_t(atom_of(node)) * width + k % width) : 0.0;
      });
}

template <class DeviceType>
void add_values(const mlip::DeviceArray<double, DeviceType> &sum, const double *more, std::int64_t count) {
  Kokkos::parallel_for(
      "mlip:add_values", mlip::DeviceRange<DeviceType>(0, count),
      KOKKOS_LAMBDA(const std::int64_t k) { sum(k) += more[k]; });
}

/// Each atom of this rank names itself; ghosts learn it from their owners.
template <class DeviceType>
void name_owners(int nlocal, const mlip::DeviceArray<double, DeviceType> &by_atom) {
  Kokkos::parallel_for(
      "mlip:owners", mlip::DeviceRange<DeviceType>(0, nlocal),
      KOKKOS_LAMBDA(const std::int64_t i) { by_atom(i) = static_cast<double>(i); });
}

} // namespace LAMMPS_NS
