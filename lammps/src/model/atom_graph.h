// SPDX-License-Identifier: MIT
//
// The graph one MPI rank hands to a model: atoms and directed edges in flat buffers that keep their memory
// from step to step. Needs neither LAMMPS nor torch.

#pragma once

#include "model.h"

#include <cstdint>
#include <vector>

namespace mlip {

/// Atoms of which the first `num_centres` have their neighbours here, and the edges sorted by centre.
class AtomGraph {
 public:
  /// Forgets atoms and edges, keeps the memory.
  void clear();

  /// Appends an atom and returns its index in the graph.
  std::int64_t add_atom(const double *position, int model_type);

  /// Appends an edge; centres must come in ascending order, or the models' segment sums are wrong.
  void add_edge(std::int64_t centre, std::int64_t neighbour) {
    centre_.push_back(centre);
    neighbour_.push_back(neighbour);
  }

  /// Same, with the lattice vectors to add to the neighbour's position.
  void add_edge(std::int64_t centre, std::int64_t neighbour, const double *shift) {
    add_edge(centre, neighbour);
    shift_.insert(shift_.end(), shift, shift + 3);
  }

  /// Ends the construction: lays out `edge_index`, adding two atoms and a pair of edges between them where
  /// the graph is smaller than the 2 atoms and 2 edges compiled models are exported for. They are farther
  /// apart than `r_max`, so that they feel nothing, and they come last, so that no result of a real atom
  /// moves.
  void finish(double r_max, bool with_shifts);

  std::int64_t num_centres = 0;
  double cell[9] = {0.0}; ///< rows are lattice vectors

  std::int64_t num_atoms() const { return static_cast<std::int64_t>(type_.size()); }
  std::int64_t num_edges() const { return static_cast<std::int64_t>(centre_.size()); }
  bool has_shifts() const { return !shift_.empty(); }
  const double *position(std::int64_t atom) const { return position_.data() + 3 * atom; }
  std::int64_t centre(std::int64_t edge) const { return centre_[static_cast<std::size_t>(edge)]; }
  std::int64_t neighbour(std::int64_t edge) const { return neighbour_[static_cast<std::size_t>(edge)]; }
  const double *shift(std::int64_t edge) const { return shift_.data() + 3 * edge; }

  /// The arrays of the finished graph, for a model.
  GraphView view() const;

  double memory_usage() const;

 private:
  std::vector<double> position_;         // (N, 3)
  std::vector<std::int64_t> type_;       // (N)
  std::vector<std::int64_t> centre_;     // (E)
  std::vector<std::int64_t> neighbour_;  // (E)
  std::vector<double> shift_;            // (E, 3), empty without a cell
  std::vector<std::int64_t> edge_index_; // (2, E), rows centre and neighbour
};

} // namespace mlip
