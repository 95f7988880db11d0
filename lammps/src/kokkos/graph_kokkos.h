// SPDX-License-Identifier: GPL-2.0-or-later
//
// The graph one rank hands to a model, built where the neighbor list is. Every array is made by counting, a
// prefix sum and filling, so that the order of atoms and edges does not depend on the order in which threads
// run.
//
// Atoms of a graph come in blocks: centres, whose energies count; then ghosts by the number of edges between
// them and the nearest centre; then padding. Edges are sorted by the atom they start from.

#pragma once

#include "device_array.h"
#include "neighbourhood_kokkos.h"

#include <cstdint>

namespace LAMMPS_NS {

template <class DeviceType>
class GraphKokkos {
 public:
  typedef NeighbourhoodKokkos<DeviceType> Neighbourhood;
  template <class T>
  using Array = mlip::DeviceArray<T, DeviceType>;
  using Range = mlip::DeviceRange<DeviceType>;

  std::int64_t num_centres = 0;
  std::int64_t num_rows = 0;  ///< atoms with edges of their own
  std::int64_t num_atoms = 0; ///< without padding
  std::int64_t num_edges = 0;
  std::int64_t padded_atoms = 0;
  std::int64_t padded_edges = 0;

  Array<int> atom_of;             ///< LAMMPS index of each atom of the graph
  Array<int> node_of;             ///< index in the graph of each LAMMPS atom; negative: not in it
  Array<double> position;         ///< (padded atoms, 3)
  Array<std::int64_t> type;       ///< (padded atoms)
  Array<std::int64_t> edge_index; ///< (2, padded edges): rows centre and neighbour
  Array<double> shift;            ///< (padded edges, 3) lattice vectors; periodic graphs only

  /// Starts a graph with the atoms of the neighbor list, in its order.
  void set_centres(const Neighbourhood &near);

  /// Adds the atoms that chains of up to `steps` edges reach. Those that fewer edges reach have edges of
  /// their own, for which the neighbor list must cover ghosts.
  void add_reached(const Neighbourhood &near, int steps);

  /// Lays out the edges between atoms of the graph, with room for padding.
  void add_edges(const Neighbourhood &near, bool buckets);

  /// The same for a graph of centres only: an edge to a ghost becomes one to `owner`, the LAMMPS index of the
  /// atom it is an image of, with lattice vectors. `h_inv` is the inverse of the box matrix in LAMMPS' order.
  void add_periodic_edges(const Neighbourhood &near, const Array<double> &owner, const double *h_inv,
                          bool buckets);

  /// Positions and types of all atoms. The types of atoms that are no centres are raised by
  /// `ghost_type_offset`.
  void fill_atoms(const Neighbourhood &near, const Array<int> &model_type, int ghost_type_offset);

  /// Gives padding atoms a place and connects them, farther apart than `r_max`: they feel nothing and nothing
  /// feels them.
  void fill_padding(double r_max);

  double memory_usage() const;

 private:
  Array<std::int64_t> offset_; // number of the first edge of each row
  Array<int> target_;          // by LAMMPS index: the graph atom at the end of an edge to it
  Array<int> image_shift_;     // (LAMMPS atoms, 3)

 public: // for nvcc, which takes no kernels in private members
  void count_edges(const Neighbourhood &near, const Array<int> &target);
  void fill_edges(const Neighbourhood &near, const Array<int> &target);
  void fill_shifts(const Neighbourhood &near, const Array<int> &target);
  void decide_padding(bool buckets);
};

template <class DeviceType>
void GraphKokkos<DeviceType>::set_centres(const Neighbourhood &near) {
  mlip::reserve(atom_of, near.nall, "mlip:atom_of");
  mlip::reserve(node_of, near.nall, "mlip:node_of");
  num_centres = num_rows = num_atoms = near.inum;
  const auto atom_of = this->atom_of;
  const auto node_of = this->node_of;
  Kokkos::parallel_for(
      "mlip:no_nodes", Range(0, near.nall), KOKKOS_LAMBDA(const std::int64_t i) { node_of(i) = -1; });
  Kokkos::parallel_for(
      "mlip:centres", Range(0, near.inum), KOKKOS_LAMBDA(const std::int64_t k) {
        const int i = near.ilist(k);
        atom_of(k) = i;
        node_of(i) = static_cast<int>(k);
      });
}

template <class DeviceType>
void GraphKokkos<DeviceType>::add_reached(const Neighbourhood &near, int steps) {
  constexpr int reached = -2;
  const auto atom_of = this->atom_of;
  const auto node_of = this->node_of;
  std::int64_t first = 0;
  for (int step = 0; step < steps; ++step) {
    num_rows = num_atoms;
    // Threads may mark an atom at the same time, but all with the same value.
    Kokkos::parallel_for(
        "mlip:reach", Range(first, num_rows), KOKKOS_LAMBDA(const std::int64_t k) {
          const int i = atom_of(k);
          for (int jj = 0; jj < near.numneigh(i); ++jj) {
            const int j = near.neighbour(i, jj);
            if (near.reaches(i, j) && Kokkos::atomic_load(&node_of(j)) == -1)
              Kokkos::atomic_store(&node_of(j), reached);
          }
        });
    const std::int64_t before = num_atoms;
    std::int64_t added = 0;
    Kokkos::parallel_scan(
        "mlip:number", Range(0, near.nall),
        KOKKOS_LAMBDA(const std::int64_t i, std::int64_t &count, const bool final) {
          if (node_of(i) != reached) return;
          if (final) {
            node_of(i) = static_cast<int>(before + count);
            atom_of(before + count) = static_cast<int>(i);
          }
          ++count;
        },
        added);
    first = before;
    num_atoms += added;
  }
}

template <class DeviceType>
void GraphKokkos<DeviceType>::add_edges(const Neighbourhood &near, bool buckets) {
  count_edges(near, node_of);
  decide_padding(buckets);
  fill_edges(near, node_of);
}

template <class DeviceType>
void GraphKokkos<DeviceType>::add_periodic_edges(const Neighbourhood &near, const Array<double> &owner,
                                                 const double *h_inv, bool buckets) {
  mlip::reserve(target_, near.nall, "mlip:target");
  mlip::reserve(image_shift_, 3 * std::int64_t(near.nall), "mlip:image_shift");
  const auto target = target_;
  const auto image_shift = image_shift_;
  const auto node_of = this->node_of;
  const double hxx = h_inv[0], hyy = h_inv[1], hzz = h_inv[2], hyz = h_inv[3], hxz = h_inv[4], hxy = h_inv[5];
  Kokkos::parallel_for(
      "mlip:images", Range(0, near.nall), KOKKOS_LAMBDA(const std::int64_t j) {
        const int i = static_cast<int>(owner(j));
        const double dx = static_cast<double>(near.x(j, 0)) - static_cast<double>(near.x(i, 0));
        const double dy = static_cast<double>(near.x(j, 1)) - static_cast<double>(near.x(i, 1));
        const double dz = static_cast<double>(near.x(j, 2)) - static_cast<double>(near.x(i, 2));
        target(j) = node_of(i);
        image_shift(3 * j) = static_cast<int>(Kokkos::round(hxx * dx + hxy * dy + hxz * dz));
        image_shift(3 * j + 1) = static_cast<int>(Kokkos::round(hyy * dy + hyz * dz));
        image_shift(3 * j + 2) = static_cast<int>(Kokkos::round(hzz * dz));
      });
  count_edges(near, target_);
  decide_padding(buckets);
  fill_edges(near, target_);
  fill_shifts(near, target_);
}

template <class DeviceType>
void GraphKokkos<DeviceType>::count_edges(const Neighbourhood &near, const Array<int> &target) {
  mlip::reserve(offset_, num_rows, "mlip:offset");
  const auto offset = offset_;
  const auto atom_of = this->atom_of;
  Kokkos::parallel_for(
      "mlip:count_edges", Range(0, num_rows), KOKKOS_LAMBDA(const std::int64_t k) {
        const int i = atom_of(k);
        std::int64_t edges = 0;
        for (int jj = 0; jj < near.numneigh(i); ++jj) {
          const int j = near.neighbour(i, jj);
          if (near.has_edge(i, j) && target(j) >= 0) ++edges;
        }
        offset(k) = edges;
      });
  num_edges = 0;
  Kokkos::parallel_scan(
      "mlip:offsets", Range(0, num_rows),
      KOKKOS_LAMBDA(const std::int64_t k, std::int64_t &sum, const bool final) {
        const std::int64_t edges = offset(k);
        if (final) offset(k) = sum;
        sum += edges;
      },
      num_edges);
}

template <class DeviceType>
void GraphKokkos<DeviceType>::decide_padding(bool buckets) {
  padded_atoms = num_atoms;
  padded_edges = num_edges;
  if (buckets) {
    padded_atoms = mlip::bucket(num_atoms + 2);
    padded_edges = mlip::bucket(num_edges + 2);
  } else if (num_atoms < 2 || num_edges < 2) {
    padded_atoms += 2;
    padded_edges += 2;
  }
  mlip::reserve(edge_index, 2 * padded_edges, "mlip:edge_index");
}

template <class DeviceType>
void GraphKokkos<DeviceType>::fill_edges(const Neighbourhood &near, const Array<int> &target) {
  const auto offset = offset_;
  const auto atom_of = this->atom_of;
  const auto edge_index = this->edge_index;
  const std::int64_t second_row = padded_edges;
  Kokkos::parallel_for(
      "mlip:fill_edges", Range(0, num_rows), KOKKOS_LAMBDA(const std::int64_t k) {
        const int i = atom_of(k);
        std::int64_t e = offset(k);
        for (int jj = 0; jj < near.numneigh(i); ++jj) {
          const int j = near.neighbour(i, jj);
          if (!near.has_edge(i, j) || target(j) < 0) continue;
          edge_index(e) = k;
          edge_index(second_row + e) = target(j);
          ++e;
        }
      });
}

template <class DeviceType>
void GraphKokkos<DeviceType>::fill_shifts(const Neighbourhood &near, const Array<int> &target) {
  mlip::reserve(shift, 3 * padded_edges, "mlip:shift");
  const auto offset = offset_;
  const auto atom_of = this->atom_of;
  const auto image_shift = image_shift_;
  const auto shift = this->shift;
  Kokkos::parallel_for(
      "mlip:fill_shifts", Range(0, num_rows), KOKKOS_LAMBDA(const std::int64_t k) {
        const int i = atom_of(k);
        std::int64_t e = offset(k);
        for (int jj = 0; jj < near.numneigh(i); ++jj) {
          const int j = near.neighbour(i, jj);
          if (!near.has_edge(i, j) || target(j) < 0) continue;
          for (int d = 0; d < 3; ++d) shift(3 * e + d) = image_shift(3 * j + d);
          ++e;
        }
      });
  Kokkos::parallel_for(
      "mlip:no_shifts", Range(3 * num_edges, 3 * padded_edges),
      KOKKOS_LAMBDA(const std::int64_t k) { shift(k) = 0.0; });
}

template <class DeviceType>
void GraphKokkos<DeviceType>::fill_atoms(const Neighbourhood &near, const Array<int> &model_type,
                                         int ghost_type_offset) {
  mlip::reserve(position, 3 * padded_atoms, "mlip:position");
  mlip::reserve(type, padded_atoms, "mlip:type");
  const auto atom_of = this->atom_of;
  const auto position = this->position;
  const auto type = this->type;
  const std::int64_t num_centres = this->num_centres;
  Kokkos::parallel_for(
      "mlip:atoms", Range(0, num_atoms), KOKKOS_LAMBDA(const std::int64_t k) {
        const int i = atom_of(k);
        for (int d = 0; d < 3; ++d) position(3 * k + d) = static_cast<double>(near.x(i, d));
        type(k) = model_type(near.type(i)) + (k < num_centres ? 0 : ghost_type_offset);
      });
}

template <class DeviceType>
void GraphKokkos<DeviceType>::fill_padding(double r_max) {
  const auto position = this->position;
  const auto type = this->type;
  const auto edge_index = this->edge_index;
  const std::int64_t here = num_atoms, there = num_atoms + 1, second_row = padded_edges;
  const double far_away = 2.0 * r_max + 1.0;
  Kokkos::parallel_for(
      "mlip:pad_atoms", Range(num_atoms, padded_atoms), KOKKOS_LAMBDA(const std::int64_t k) {
        position(3 * k) = k == there ? far_away : 0.0;
        position(3 * k + 1) = position(3 * k + 2) = 0.0;
        type(k) = 0;
      });
  const std::int64_t half = (num_edges + padded_edges) / 2;
  Kokkos::parallel_for(
      "mlip:pad_edges", Range(num_edges, padded_edges), KOKKOS_LAMBDA(const std::int64_t e) {
        edge_index(e) = e < half ? here : there;
        edge_index(second_row + e) = e < half ? there : here;
      });
}

template <class DeviceType>
double GraphKokkos<DeviceType>::memory_usage() const {
  return mlip::memory_of(atom_of) + mlip::memory_of(node_of) + mlip::memory_of(position) +
         mlip::memory_of(type) + mlip::memory_of(edge_index) + mlip::memory_of(shift) +
         mlip::memory_of(offset_) + mlip::memory_of(target_) + mlip::memory_of(image_shift_);
}

} // namespace LAMMPS_NS
