// SPDX-License-Identifier: GPL-2.0-or-later
//
// A step: the model's results into LAMMPS's arrays.
//
// An edge points from a centre i to a neighbour j, r = x_j - x_i, and g is the derivative of the energy by r.
// Then g is a force on i, -g one on j, and -r (x) g the edge's part of the virial.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "update.h"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace LAMMPS_NS;

void PairMLIP::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (vflag_either) check_virial_request();
  const auto result = predict();
  evaluated_step_ = update->ntimestep;
  // A rank without atoms has no results, but it passes those of others on.
  const bool any = graph_.num_centres > 0;
  if (any) add_energies(result);
  add_forces(result);
  if (vflag_global && !has_virial())
    std::fill_n(virial, 6, std::numeric_limits<double>::quiet_NaN()); // prepare_simulation() has warned
  else if (any && vflag_global)
    add_virial(result);
  if (vflag_atom || cvflag_atom) add_atom_virials(result);
}

mlip::Prediction PairMLIP::predict() {
  build_graph();
  mlip::Prediction result;
  if (graph_.num_centres > 0) guarded([&] { result = model_->evaluate(finished_graph()); });
  return result;
}

mlip::GraphView PairMLIP::finished_graph() {
  stop_at_bad_positions();
  if (debug_ && comm->me == 0) print_edges();
  warn_if_memory_is_short(graph_.num_atoms(), graph_.num_edges());
  graph_.finish(model_->metadata().r_max, with_shifts_);
  return graph_.view();
}

// The graph
// ------------------------------------------------------------------------------------------------------

std::int64_t PairMLIP::add_atom(int i, bool counted) {
  const int type = model_type_[static_cast<std::size_t>(atom->type[i])];
  const auto index = graph_.add_atom(atom->x[i], counted ? type : type + model_->metadata().num_types());
  atom_of_.push_back(i);
  graph_index_[static_cast<std::size_t>(i)] = index;
  return index;
}

void PairMLIP::add_centres() {
  graph_.clear();
  atom_of_.clear();
  graph_index_.assign(static_cast<std::size_t>(atom->nlocal + atom->nghost), -1);
  for (int ii = 0; ii < list->inum; ++ii) add_atom(list->ilist[ii]);
  graph_.num_centres = graph_.num_atoms();
}

void PairMLIP::stop_at_bad_positions() const {
  // No distance to such an atom is below a cutoff: it would leave its neighbours' energies without a sign of
  // it.
  const auto wrong = [&](std::int64_t k) {
    const double *const x = graph_.position(k);
    return !std::isfinite(x[0] + x[1] + x[2]);
  };
  for (std::int64_t k = 0; k < graph_.num_centres; ++k)
    if (wrong(k))
      error->one(
          FLERR,
          "{}: the position of the atom with ID {} is not a number at step {}: the time step may be too "
          "long, or the structure bad",
          style(), atom->tag[atom_of_[static_cast<std::size_t>(k)]], update->ntimestep);
}

// Results
// --------------------------------------------------------------------------------------------------------

void PairMLIP::add_energies(const mlip::Prediction &result) {
  // Only centres: other atoms belong to other ranks.
  const auto num_centres = static_cast<std::size_t>(graph_.num_centres);
  double energy = 0.0;
  for (std::size_t k = 0; k < num_centres; ++k) energy += result.atomic_energy[k];
  if (!std::isfinite(energy)) stop_at_bad_energy(result);
  if (eflag_global) eng_vdwl += energy_unit_ * energy;
  if (eflag_atom)
    for (std::size_t k = 0; k < num_centres; ++k)
      eatom[atom_of_[k]] += energy_unit_ * result.atomic_energy[k];
}

template <class Add>
void PairMLIP::for_each_edge_force(const mlip::Prediction &result, Add add) const {
  const auto edges = graph_.num_edges();
  const auto atoms = static_cast<std::int64_t>(atom_of_.size());
  const double *const cell = graph_.cell;
  for (std::int64_t e = 0; e < edges; ++e) {
    const auto i = graph_.centre(e), j = graph_.neighbour(e);
    if (i >= atoms) break; // the atoms that only fill the graph up come last
    const double *const xi = graph_.position(i), *const xj = graph_.position(j);
    double r[3] = {xj[0] - xi[0], xj[1] - xi[1], xj[2] - xi[2]};
    if (with_shifts_ && graph_.has_shifts()) {
      const double *const s = graph_.shift(e);
      for (int d = 0; d < 3; ++d) r[d] += s[0] * cell[d] + s[1] * cell[3 + d] + s[2] * cell[6 + d];
    }
    double g[3];
    for (int d = 0; d < 3; ++d) g[d] = energy_unit_ * result.edge_forces[3 * e + d];
    add(static_cast<std::size_t>(i), static_cast<std::size_t>(j), r, g);
  }
}

void PairMLIP::add_forces(const mlip::Prediction &result) {
  double *const *const f = atom->f;
  // With newton on, LAMMPS sends the forces on ghosts home; without, they must not be touched.
  const bool own = !force->newton_pair && has_ghost_forces();
  double *const ghosts = own ? ghost_rows(3) : nullptr;
  const int nlocal = atom->nlocal;
  const auto target = [&](int i) {
    return own && i >= nlocal ? ghosts + 3 * static_cast<std::size_t>(i) : f[i];
  };
  if (result.forces) {
    const std::size_t count =
        has_ghost_forces() ? atom_of_.size() : static_cast<std::size_t>(graph_.num_centres);
    for (std::size_t k = 0; k < count; ++k) {
      double *const to = target(atom_of_[k]);
      for (std::size_t d = 0; d < 3; ++d) to[d] += energy_unit_ * result.forces[3 * k + d];
    }
  } else if (result.edge_forces) {
    for_each_edge_force(result, [&](std::size_t i, std::size_t j, const double *, const double *g) {
      double *const fi = target(atom_of_[i]);
      double *const fj = target(atom_of_[j]);
      for (int d = 0; d < 3; ++d) {
        fi[d] += g[d];
        fj[d] -= g[d];
      }
    });
  }
  if (own) add_ghost_rows(atom->f, 3);
}

void PairMLIP::add_virial(const mlip::Prediction &result) {
  double total[6] = {0.0};
  if (result.virial) {
    const double *const v = result.virial;
    const double voigt[6] = {v[0], v[4], v[8], v[1], v[2], v[5]};
    for (int k = 0; k < 6; ++k) total[k] = energy_unit_ * voigt[k];
  } else {
    for_each_edge_force(result, [&](std::size_t, std::size_t, const double *r, const double *g) {
      for (int d = 0; d < 3; ++d) total[d] -= r[d] * g[d];
      total[3] -= r[0] * g[1];
      total[4] -= r[0] * g[2];
      total[5] -= r[1] * g[2];
    });
  }
  for (int k = 0; k < 6; ++k) virial[k] += total[k];
}

void PairMLIP::add_atom_virials(const mlip::Prediction &result) {
  // stress/atom: half of an edge to either end, as LAMMPS does for pairs. centroid/stress/atom: all of it to
  // the neighbour, since then the sum of (virial of j) v_j is the rate at which centres move energy (Fan et
  // al., Phys. Rev. B 92, 094301 (2015)).
  const bool own = !force->newton_pair && has_ghost_forces();
  const int nlocal = atom->nlocal;
  const auto pass = [&](double **target, int width, auto share) {
    double *const ghosts = own ? ghost_rows(width) : nullptr;
    const auto row = [&](int i) {
      return own && i >= nlocal ? ghosts + static_cast<std::size_t>(width) * static_cast<std::size_t>(i)
                                : target[i];
    };
    if (result.edge_forces)
      for_each_edge_force(result, [&](std::size_t i, std::size_t j, const double *r, const double *g) {
        share(row(atom_of_[i]), row(atom_of_[j]), r, g);
      });
    if (own) add_ghost_rows(target, width);
  };
  if (vflag_atom)
    pass(vatom, 6, [](double *vi, double *vj, const double *r, const double *g) {
      // Alone an edge's tensor is not symmetric; the sum over the edges of an atom nearly is.
      const double v[6] = {r[0] * g[0],
                           r[1] * g[1],
                           r[2] * g[2],
                           0.5 * (r[0] * g[1] + r[1] * g[0]),
                           0.5 * (r[0] * g[2] + r[2] * g[0]),
                           0.5 * (r[1] * g[2] + r[2] * g[1])};
      for (int k = 0; k < 6; ++k) {
        vi[k] -= 0.5 * v[k];
        vj[k] -= 0.5 * v[k];
      }
    });
  if (cvflag_atom)
    pass(cvatom, 9, [](double *, double *vj, const double *r, const double *g) {
      const double v[9] = {r[0] * g[0], r[1] * g[1], r[2] * g[2], r[0] * g[1], r[0] * g[2],
                           r[1] * g[2], r[1] * g[0], r[2] * g[0], r[2] * g[1]};
      for (int k = 0; k < 9; ++k) vj[k] -= v[k];
    });
}

mlip::NamedOutput PairMLIP::output(const std::string &name) {
  if (evaluated_step_ != update->ntimestep)
    error->all(FLERR, "{} was not evaluated at step {}, so that there is no output '{}' of it", style(),
               update->ntimestep, name);
  mlip::NamedOutput found;
  if (graph_.num_centres > 0) guarded([&] { found = model_->output(name); });
  return found;
}

// Communication
// --------------------------------------------------------------------------------------------------

double *PairMLIP::ghost_rows(int width) {
  const auto rows = static_cast<std::size_t>(atom->nlocal + atom->nghost);
  ghost_rows_.assign(rows * static_cast<std::size_t>(width), 0.0);
  return ghost_rows_.data();
}

void PairMLIP::add_ghost_rows(double **target, int width) {
  sum_from_ghosts(ghost_rows_.data(), width);
  const double *row = ghost_rows_.data();
  for (int i = 0; i < atom->nlocal; ++i, row += width)
    for (int k = 0; k < width; ++k) target[i][k] += row[k];
}

void PairMLIP::reserve_communication(int forward, int reverse) {
  // Buffers are made for the pair style LAMMPS knows, which may be a hybrid with this one in it.
  for (Pair *pair : {static_cast<Pair *>(this), force->pair}) {
    pair->comm_forward = std::max(pair->comm_forward, forward);
    pair->comm_reverse = std::max(pair->comm_reverse, reverse);
    pair->comm_reverse_off = std::max(pair->comm_reverse_off, reverse);
  }
}

void PairMLIP::send_to_ghosts(double *rows, int width, const std::int64_t *row_of) {
  exchanged_ = {rows, width, row_of};
  comm->forward_comm(this, width);
}

void PairMLIP::sum_from_ghosts(double *rows, int width, const std::int64_t *row_of) {
  exchanged_ = {rows, width, row_of};
  comm->reverse_comm(this, width);
}

int PairMLIP::pack_forward_comm(int n, int *list, double *buf, int /*pbc_flag*/, int * /*pbc*/) {
  const auto [rows, width, row_of] = exchanged_;
  double *to = buf;
  for (int k = 0; k < n; ++k)
    to = std::copy_n(rows + width * (row_of ? row_of[list[k]] : std::int64_t{list[k]}), width, to);
  return n * width;
}

void PairMLIP::unpack_forward_comm(int n, int first, double *buf) {
  const auto [rows, width, row_of] = exchanged_;
  for (int i = first; i < first + n; ++i, buf += width)
    std::copy_n(buf, width, rows + width * (row_of ? row_of[i] : std::int64_t{i}));
}

int PairMLIP::pack_reverse_comm(int n, int first, double *buf) {
  const auto [rows, width, row_of] = exchanged_;
  double *to = buf;
  for (int i = first; i < first + n; ++i)
    to = std::copy_n(rows + width * (row_of ? row_of[i] : std::int64_t{i}), width, to);
  return n * width;
}

void PairMLIP::unpack_reverse_comm(int n, int *list, double *buf) {
  const auto [rows, width, row_of] = exchanged_;
  for (int k = 0; k < n; ++k, buf += width) {
    double *const to = rows + width * (row_of ? row_of[list[k]] : std::int64_t{list[k]});
    for (int d = 0; d < width; ++d) to[d] += buf[d];
  }
}
