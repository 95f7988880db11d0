// SPDX-License-Identifier: GPL-2.0-or-later

#include "pair_mlip.h"

#include "process_settings.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neigh_list.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <utility>

using namespace LAMMPS_NS;

PairMLIP::PairMLIP(LAMMPS *lmp, mlip::CompileTarget target)
    : Pair(lmp), target_(std::move(target)), target_style_(target_.name.substr(std::strlen("pair_"))) {
  single_enable = 0; // the energy of a pair alone has no meaning in a many-body model
  restartinfo = 0;
  one_coeff = 1;
  manybody_flag = 1;
  // The model returns the virial itself. Without forces on ghosts, position times force over the atoms of a
  // rank is not it.
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_NOTAVAIL;

  const auto &inputs = target_.inputs;
  with_shifts_ = std::find(inputs.begin(), inputs.end(), "edge_cell_shift") != inputs.end();
  const char *level = std::getenv("_NEQUIP_LOG_LEVEL");
  debug_ = level && std::strcmp(level, "DEBUG") == 0;
  mlip::keep_freed_memory();
}

PairMLIP::~PairMLIP() {
  if (copymode || !allocated) return;
  memory->destroy(setflag);
  memory->destroy(cutsq);
}

void PairMLIP::allocate() {
  const int n = atom->ntypes + 1;
  if (!allocated) {
    memory->create(setflag, n, n, "pair:setflag");
    memory->create(cutsq, n, n, "pair:cutsq");
    allocated = 1;
  }
  for (int i = 0; i < n; ++i)
    for (int j = 0; j < n; ++j) {
      setflag[i][j] = 0;
      cutsq[i][j] = 0.0;
    }
}

void PairMLIP::settings(int narg, char ** /*arg*/) {
  if (narg > 0)
    error->all(FLERR,
               "{} takes no arguments: the model file and the names go to 'pair_coeff * * FILE name ...'",
               style());
}

void PairMLIP::coeff(int narg, char **arg) {
  if (narg < 3 || std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
    error->all(FLERR,
               "pair_coeff of {} must read 'pair_coeff * * FILE name ...', with a name for each atom type",
               style());
  if (std::strcmp(update->unit_style, "metal") != 0)
    error->all(FLERR, "{} works in eV and Angstrom, but the input says 'units {}': use 'units metal'",
               style(), update->unit_style);
  check_simulation();
  allocate();

  std::string problem;
  const int local_rank = rank_on_node();
  mlip::set_num_threads(comm->nthreads);
  try {
    model_ = mlip::Model::open(arg[2], target_, local_rank);
  } catch (const std::exception &failure) {
    problem = failure.what();
  }
  stop_everywhere_if(problem);
  read_types(narg - 3, arg + 3);
  log_provenance();
}

void PairMLIP::read_types(int narg, char **arg) {
  const auto &model = model_->metadata();
  const int n = atom->ntypes;
  if (narg != n)
    error->all(FLERR,
               "pair_coeff of {} needs one name for each of the {} atom types after the file name, got {}",
               style(), n, narg);

  const bool hybrid = utils::strmatch(force->pair_style, "^hybrid");
  model_type_.assign(static_cast<std::size_t>(n) + 1, -1);
  for (int type = 1; type <= n; ++type) {
    const std::string name = arg[type - 1];
    if (name == "NULL") {
      if (!hybrid)
        error->all(FLERR,
                   "pair_coeff maps atom type {} to NULL, which means 'left to another pair style': use "
                   "'pair_style hybrid/overlay', or name a type of the model: {}",
                   type, mlip::join_words(model.type_names));
      continue;
    }
    const int index = model.type_index(name);
    if (index < 0)
      error->all(
          FLERR,
          "pair_coeff maps atom type {} to '{}', which is not a type of model file '{}': its types are "
          "{}",
          type, name, model.file, mlip::join_words(model.type_names));
    model_type_[static_cast<std::size_t>(type)] = index;
  }

  const auto row = static_cast<std::size_t>(n) + 1;
  cutsq_.assign(row * row, -1.0);
  for (int i = 1; i <= n; ++i)
    for (int j = 1; j <= n; ++j) {
      const int ti = model_type_[static_cast<std::size_t>(i)], tj = model_type_[static_cast<std::size_t>(j)];
      if (ti < 0 || tj < 0) continue;
      const double cutoff = model.cutoff(ti, tj);
      cutsq_[static_cast<std::size_t>(i) * row + static_cast<std::size_t>(j)] = cutoff * cutoff;
      if (i <= j) setflag[i][j] = 1;
    }
}

void PairMLIP::init_style() {
  for (int k = 1; k <= 3; ++k)
    if (atom->nbonds > 0 && force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
      error->all(FLERR,
                 "{} needs bonded atoms in the neighbor list, but special_bonds takes them out: add "
                 "'special_bonds lj/coul 1.0 1.0 1.0'",
                 style());
  mlip::set_num_threads(comm->nthreads);
  neighbor->add_request(this, NeighConst::REQ_FULL);
}

double PairMLIP::init_one(int i, int j) {
  if (setflag[i][j] == 0)
    error->all(FLERR, "{}: no pair_coeff line covers the atom types {} and {}", style(), i, j);
  const auto &model = model_->metadata();
  const int ti = model_type_[static_cast<std::size_t>(i)], tj = model_type_[static_cast<std::size_t>(j)];
  return std::max(model.cutoff(ti, tj), model.cutoff(tj, ti));
}

void PairMLIP::compute(int eflag, int vflag) {
  ev_init(eflag, vflag);
  if (vflag_atom || cvflag_atom)
    error->all(FLERR,
               "{} has no virial per atom, which compute stress/atom and heat/flux ask for: use compute "
               "pressure for the whole system",
               style());

  build_graph();
  // A rank without atoms has nothing to ask the model; its part in the communication is LAMMPS's business.
  if (graph_.num_centres == 0) return;
  if (debug_ && comm->me == 0) print_edges();

  mlip::Prediction result;
  try {
    graph_.finish(model_->metadata().r_max, with_shifts_);
    result = model_->evaluate(graph_);
  } catch (const std::exception &failure) {
    error->one(FLERR, failure.what());
  }

  double *const *const f = atom->f;
  for (std::size_t k = 0; k < atom_of_.size(); ++k)
    for (std::size_t d = 0; d < 3; ++d) f[atom_of_[k]][d] += result.forces[3 * k + d];

  // Only centres: the model has energies for its other atoms as well, but those belong to other ranks.
  const auto num_centres = static_cast<std::size_t>(graph_.num_centres);
  double energy = 0.0;
  for (std::size_t k = 0; k < num_centres; ++k) energy += result.atomic_energy[k];
  if (!std::isfinite(energy)) stop_at_bad_energy(result);
  if (eflag_global) eng_vdwl += energy;
  if (eflag_atom)
    for (std::size_t k = 0; k < num_centres; ++k) eatom[atom_of_[k]] += result.atomic_energy[k];
  if (vflag_global) {
    const double *const v = result.virial;
    const double voigt[6] = {v[0], v[4], v[8], v[1], v[2], v[5]};
    for (int k = 0; k < 6; ++k) virial[k] += voigt[k];
  }
}

void PairMLIP::stop_at_bad_energy(const mlip::Prediction &result) const {
  std::size_t k = 0;
  while (k + 1 < static_cast<std::size_t>(graph_.num_centres) && std::isfinite(result.atomic_energy[k])) ++k;
  error->one(
      FLERR,
      "{}: the energy of the atom with ID {} is {} at step {}: atoms are too close or the time step is "
      "too long",
      style(), atom->tag[atom_of_[k]], result.atomic_energy[k], update->ntimestep);
}

std::int64_t PairMLIP::add_atom(int i) {
  const auto index = graph_.add_atom(atom->x[i], model_type_[static_cast<std::size_t>(atom->type[i])]);
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

double PairMLIP::memory_usage() {
  return Pair::memory_usage() + graph_.memory_usage() +
         static_cast<double>(atom_of_.capacity() * sizeof(int)) +
         static_cast<double>(graph_index_.capacity() * sizeof(std::int64_t));
}

void PairMLIP::log_provenance() const {
  if (comm->me != 0) return;
  const auto &model = model_->metadata();
  std::string types;
  for (int type = 1; type <= atom->ntypes; ++type) {
    const int index = model_type_[static_cast<std::size_t>(type)];
    types += (type > 1 ? ", " : "") + std::to_string(type) + " = " +
             (index < 0 ? "NULL" : model.type_names[static_cast<std::size_t>(index)]);
  }
  utils::logmesg(lmp, "{}: {}\n  atom types {}; cutoff {} Angstrom; precision {}\n", style(), model.file,
                 types, model.r_max, model.dtype.empty() ? "unknown" : model.dtype);
  utils::logmesg(lmp, "  {}, {} thread(s) per rank{}\n", model_->description(), comm->nthreads,
                 model.threads.empty() ? "" : ", compiled for " + model.threads);
  // The number of threads is part of the compiled code: it stays as it is whatever the run asks for.
  if (!model.threads.empty() && model.threads != std::to_string(comm->nthreads))
    error->warning(
        FLERR,
        "model file '{}' was compiled for {} thread(s), but each rank has {}: set OMP_NUM_THREADS={} or "
        "compile it with nequip-compile --threads {}",
        model.file, model.threads, comm->nthreads, model.threads, comm->nthreads);
}

void PairMLIP::stop_everywhere_if(const std::string &problem) const {
  // error->all must be called by all ranks or none; a file may be missing on one node only.
  const int mine = problem.empty() ? comm->nprocs : comm->me;
  int first = comm->nprocs;
  MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, world);
  if (first == comm->nprocs) return;
  int length = static_cast<int>(problem.size());
  MPI_Bcast(&length, 1, MPI_INT, first, world);
  std::string message = problem;
  message.resize(static_cast<std::size_t>(length));
  MPI_Bcast(message.data(), length, MPI_CHAR, first, world);
  error->all(FLERR, message);
}

int PairMLIP::rank_on_node() const {
  MPI_Comm node;
  MPI_Comm_split_type(world, MPI_COMM_TYPE_SHARED, comm->me, MPI_INFO_NULL, &node);
  int rank = 0;
  MPI_Comm_rank(node, &rank);
  MPI_Comm_free(&node);
  return rank;
}
