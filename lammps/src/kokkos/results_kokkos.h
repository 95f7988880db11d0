// SPDX-License-Identifier: GPL-2.0-or-later
//
// A model's results into arrays by LAMMPS atom, in kernels.
//
// An edge points from a centre i to a neighbour j, r = x_j - x_i, and g is the derivative of the energy by r.
// Then g is a force on i, -g one on j, and -r (x) g the edge's part of the virial.
//
// `rows` is any view (LAMMPS atoms, width) that sums: LAMMPS' own, or one whose ghosts are sent home
// afterwards.

#pragma once

#include "graph_kokkos.h"

namespace LAMMPS_NS {

template <class DeviceType>
using ResultArray =
    Kokkos::View<const double *, Kokkos::LayoutRight, DeviceType, Kokkos::MemoryTraits<Kokkos::Unmanaged>>;

/// Six or nine sums at once.
template <int N>
struct SumsKokkos {
  double values[N];
  KOKKOS_INLINE_FUNCTION SumsKokkos() {
    for (int k = 0; k < N; ++k) values[k] = 0.0;
  }
  KOKKOS_INLINE_FUNCTION void operator+=(const SumsKokkos &other) {
    for (int k = 0; k < N; ++k) values[k] += other.values[k];
  }
};

/// The edges of a graph with their gradients, as kernels take them: by value.
template <class DeviceType>
struct EdgeForcesKokkos {
  EdgeForcesKokkos(const GraphKokkos<DeviceType> &graph, const double *edge_forces, double energy_unit,
                   const double *box = nullptr)
      : num_edges(graph.num_edges), second_row(graph.padded_edges), atom_of(graph.atom_of),
        position(graph.position), edge_index(graph.edge_index), shift(graph.shift),
        gradient(edge_forces, 3 * static_cast<std::size_t>(graph.padded_edges)), unit(energy_unit),
        has_shift(box != nullptr) {
    for (int k = 0; k < 9; ++k) cell[k] = box ? box[k] : 0.0;
  }

  std::int64_t num_edges, second_row;
  mlip::DeviceArray<int, DeviceType> atom_of;
  mlip::DeviceArray<double, DeviceType> position;
  mlip::DeviceArray<std::int64_t, DeviceType> edge_index;
  mlip::DeviceArray<double, DeviceType> shift;
  ResultArray<DeviceType> gradient;
  double unit;
  bool has_shift;
  double cell[9];

  KOKKOS_INLINE_FUNCTION int centre(std::int64_t e) const { return atom_of(edge_index(e)); }
  KOKKOS_INLINE_FUNCTION int neighbour(std::int64_t e) const { return atom_of(edge_index(second_row + e)); }

  /// The derivative in the units of the simulation.
  KOKKOS_INLINE_FUNCTION void load_gradient(std::int64_t e, double *g) const {
    for (int d = 0; d < 3; ++d) g[d] = unit * gradient(3 * e + d);
  }

  KOKKOS_INLINE_FUNCTION void load_vector(std::int64_t e, double *r) const {
    const std::int64_t i = edge_index(e), j = edge_index(second_row + e);
    for (int d = 0; d < 3; ++d) r[d] = position(3 * j + d) - position(3 * i + d);
    if (!has_shift) return;
    for (int d = 0; d < 3; ++d)
      for (int k = 0; k < 3; ++k) r[d] += shift(3 * e + k) * cell[3 * k + d];
  }
};

template <class DeviceType>
bool all_finite(const mlip::DeviceArray<double, DeviceType> &values, std::int64_t count) {
  int bad = 0;
  Kokkos::parallel_reduce(
      "mlip:finite", mlip::DeviceRange<DeviceType>(0, count),
      KOKKOS_LAMBDA(const std::int64_t k, int &found) {
        if (!Kokkos::isfinite(values(k))) ++found;
      },
      bad);
  return bad == 0;
}

template <class DeviceType, class Rows>
void clear_rows(const Rows &rows, std::int64_t count, int width) {
  Kokkos::parallel_for(
      "mlip:clear", mlip::DeviceRange<DeviceType>(0, count), KOKKOS_LAMBDA(const std::int64_t i) {
        for (int k = 0; k < width; ++k) rows(i, k) = 0;
      });
}

template <class DeviceType, class Rows, class MoreRows>
void add_to_rows(const Rows &rows, const MoreRows &more, std::int64_t count, int width) {
  Kokkos::parallel_for(
      "mlip:add", mlip::DeviceRange<DeviceType>(0, count), KOKKOS_LAMBDA(const std::int64_t i) {
        for (int k = 0; k < width; ++k) rows(i, k) += more(i, k);
      });
}

/// Forces by graph atom; each LAMMPS atom is in the graph once, so that no two threads meet.
template <class DeviceType, class Rows>
void add_atom_forces(const GraphKokkos<DeviceType> &graph, std::int64_t count, const double *forces,
                     double unit, const Rows &rows) {
  const ResultArray<DeviceType> force(forces, 3 * static_cast<std::size_t>(graph.padded_atoms));
  const auto atom_of = graph.atom_of;
  Kokkos::parallel_for(
      "mlip:forces", mlip::DeviceRange<DeviceType>(0, count), KOKKOS_LAMBDA(const std::int64_t k) {
        const int i = atom_of(k);
        for (int d = 0; d < 3; ++d) rows(i, d) += unit * force(3 * k + d);
      });
}

template <class DeviceType, class Rows>
void add_edge_forces(const EdgeForcesKokkos<DeviceType> &edges, const Rows &rows) {
  using Value = typename Rows::non_const_value_type;
  Kokkos::parallel_for(
      "mlip:edge_forces", mlip::DeviceRange<DeviceType>(0, edges.num_edges),
      KOKKOS_LAMBDA(const std::int64_t e) {
        const int i = edges.centre(e), j = edges.neighbour(e);
        double g[3];
        edges.load_gradient(e, g);
        for (int d = 0; d < 3; ++d) {
          Kokkos::atomic_add(&rows(i, d), static_cast<Value>(g[d]));
          Kokkos::atomic_add(&rows(j, d), static_cast<Value>(-g[d]));
        }
      });
}

/// Adds the energies of centres to `eatom`, unless that is empty; their sum, in eV.
template <class DeviceType, class Eatom>
double add_energies(const GraphKokkos<DeviceType> &graph, const double *atomic_energy, double unit,
                    const Eatom &eatom) {
  const ResultArray<DeviceType> energy(atomic_energy, static_cast<std::size_t>(graph.padded_atoms));
  const auto atom_of = graph.atom_of;
  const bool per_atom = eatom.extent(0) > 0;
  double sum = 0.0;
  Kokkos::parallel_reduce(
      "mlip:energies", mlip::DeviceRange<DeviceType>(0, graph.num_centres),
      KOKKOS_LAMBDA(const std::int64_t k, double &total) {
        total += energy(k);
        if (per_atom) eatom(atom_of(k)) += unit * energy(k);
      },
      sum);
  return sum;
}

/// The virial of all edges: xx yy zz xy xz yz.
template <class DeviceType>
SumsKokkos<6> edge_virial(const EdgeForcesKokkos<DeviceType> &edges) {
  SumsKokkos<6> sums;
  Kokkos::parallel_reduce(
      "mlip:virial", mlip::DeviceRange<DeviceType>(0, edges.num_edges),
      KOKKOS_LAMBDA(const std::int64_t e, SumsKokkos<6> &total) {
        double r[3], g[3];
        edges.load_vector(e, r);
        edges.load_gradient(e, g);
        for (int d = 0; d < 3; ++d) total.values[d] -= r[d] * g[d];
        total.values[3] -= r[0] * g[1];
        total.values[4] -= r[0] * g[2];
        total.values[5] -= r[1] * g[2];
      },
      sums);
  return sums;
}

/// Half of each edge's virial to either end, as LAMMPS does for pairs: xx yy zz xy xz yz.
template <class DeviceType, class Rows>
void add_atom_virials(const EdgeForcesKokkos<DeviceType> &edges, const Rows &rows) {
  using Value = typename Rows::non_const_value_type;
  Kokkos::parallel_for(
      "mlip:atom_virials", mlip::DeviceRange<DeviceType>(0, edges.num_edges),
      KOKKOS_LAMBDA(const std::int64_t e) {
        const int i = edges.centre(e), j = edges.neighbour(e);
        double r[3], g[3];
        edges.load_vector(e, r);
        edges.load_gradient(e, g);
        const double v[6] = {r[0] * g[0],
                             r[1] * g[1],
                             r[2] * g[2],
                             0.5 * (r[0] * g[1] + r[1] * g[0]),
                             0.5 * (r[0] * g[2] + r[2] * g[0]),
                             0.5 * (r[1] * g[2] + r[2] * g[1])};
        for (int k = 0; k < 6; ++k) {
          Kokkos::atomic_add(&rows(i, k), static_cast<Value>(-0.5 * v[k]));
          Kokkos::atomic_add(&rows(j, k), static_cast<Value>(-0.5 * v[k]));
        }
      });
}

/// Each edge's virial to its neighbour, which the heat flux needs: xx yy zz xy xz yz yx zx zy.
template <class DeviceType, class Rows>
void add_centroid_virials(const EdgeForcesKokkos<DeviceType> &edges, const Rows &rows) {
  using Value = typename Rows::non_const_value_type;
  Kokkos::parallel_for(
      "mlip:centroid_virials", mlip::DeviceRange<DeviceType>(0, edges.num_edges),
      KOKKOS_LAMBDA(const std::int64_t e) {
        const int j = edges.neighbour(e);
        double r[3], g[3];
        edges.load_vector(e, r);
        edges.load_gradient(e, g);
        const double v[9] = {r[0] * g[0], r[1] * g[1], r[2] * g[2], r[0] * g[1], r[0] * g[2],
                             r[1] * g[2], r[1] * g[0], r[2] * g[0], r[2] * g[1]};
        for (int k = 0; k < 9; ++k) Kokkos::atomic_add(&rows(j, k), static_cast<Value>(-v[k]));
      });
}

} // namespace LAMMPS_NS
