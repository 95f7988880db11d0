// SPDX-License-Identifier: MIT

#include "atom_graph.h"

#include <algorithm>

namespace mlip {

void AtomGraph::clear() {
  num_centres = 0;
  position_.clear();
  type_.clear();
  centre_.clear();
  neighbour_.clear();
  shift_.clear();
}

std::int64_t AtomGraph::add_atom(const double *position, int model_type) {
  position_.insert(position_.end(), position, position + 3);
  type_.push_back(model_type);
  return num_atoms() - 1;
}

void AtomGraph::finish(double r_max, bool with_shifts) {
  if (num_atoms() < 2 || num_edges() < 2) {
    const double here[3] = {0.0, 0.0, 0.0};
    const double far_away[3] = {2.0 * r_max + 1.0, 0.0, 0.0};
    const auto first = add_atom(here, 0);
    const auto second = add_atom(far_away, 0);
    if (with_shifts) {
      add_edge(first, second, here);
      add_edge(second, first, here);
    } else {
      add_edge(first, second);
      add_edge(second, first);
    }
  }
  edge_index_.resize(centre_.size() + neighbour_.size());
  std::copy(centre_.begin(), centre_.end(), edge_index_.begin());
  std::copy(neighbour_.begin(), neighbour_.end(), edge_index_.begin() + num_edges());
}

GraphView AtomGraph::view() const {
  GraphView view;
  view.num_atoms = num_atoms();
  view.num_edges = num_edges();
  view.position = position_.data();
  view.type = type_.data();
  view.edge_index = edge_index_.data();
  if (has_shifts()) {
    view.edge_cell_shift = shift_.data();
    view.cell = cell;
  }
  return view;
}

double AtomGraph::memory_usage() const {
  return static_cast<double>(
      (position_.capacity() + shift_.capacity()) * sizeof(double) +
      (type_.capacity() + centre_.capacity() + neighbour_.capacity() + edge_index_.capacity()) *
          sizeof(std::int64_t));
}

} // namespace mlip
