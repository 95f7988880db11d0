// SPDX-License-Identifier: GPL-2.0-or-later
//
// Input lines, the model, and the preparation of a run.

#include "pair_mlip.h"

#include "model/process_settings.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

using namespace LAMMPS_NS;

PairMLIP::PairMLIP(LAMMPS *lmp, mlip::CompileTarget target)
    : Pair(lmp), target_(std::move(target)), target_style_(target_.name.substr(std::strlen("pair_"))) {
  single_enable = 0; // the energy of a pair alone has no meaning in a many-body model
  restartinfo = 1;
  one_coeff = 1;
  manybody_flag = 1;
  // The model returns the virial itself. Without forces on ghosts, position times force over the atoms of a
  // rank is not it.
  no_virial_fdotr_compute = 1;
  centroidstressflag = CENTROID_AVAIL;

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

// Options
// --------------------------------------------------------------------------------------------------------

void PairMLIP::settings(int narg, char **arg) {
  reset_options();
  for (int k = 0; k < narg; k += 2) {
    const std::string name = arg[k];
    if (k + 1 == narg || !read_option(name, arg[k + 1]))
      error->all(FLERR,
                 "{} does not understand '{}{}': its options are {}; the model file and the names go to "
                 "'pair_coeff * * FILE name ...'",
                 style(), name, k + 1 == narg ? "" : std::string(" ") + arg[k + 1], option_names());
  }
  loaded_ = false; // for another device, perhaps
}

bool PairMLIP::is_small_number(const std::string &text) {
  return utils::is_integer(text) && text.size() < 5;
}

void PairMLIP::reset_options() {
  device_ = mlip::DeviceRequest{};
}

bool PairMLIP::read_option(const std::string &name, const std::string &value) {
  using Kind = mlip::DeviceRequest::Kind;
  if (name == "device") {
    const std::string numbered = "cuda:";
    const bool is_numbered = value.compare(0, numbered.size(), numbered) == 0;
    const std::string number = is_numbered ? value.substr(numbered.size()) : "";
    if (is_numbered && !is_small_number(number)) return false;
    device_.index = is_numbered ? std::stoi(number) : -1;
    device_.kind = value == "cpu" ? Kind::cpu : value == "auto" ? Kind::automatic : Kind::cuda;
    return value == "auto" || value == "cpu" || value == "cuda" || (is_numbered && device_.index >= 0);
  }
  if (name == "tf32") {
    device_.tf32 = value == "model" ? std::nullopt : std::optional<bool>(value == "on");
    return value == "model" || value == "on" || value == "off";
  }
  return false;
}

// The pair_coeff line
// --------------------------------------------------------------------------------------------

void PairMLIP::coeff(int narg, char **arg) {
  if (narg < 3 || std::strcmp(arg[0], "*") != 0 || std::strcmp(arg[1], "*") != 0)
    error->all(FLERR,
               "pair_coeff of {} must read 'pair_coeff * * FILE name ...', with a name for each atom type",
               style());
  coeff_.assign(arg + 2, arg + narg);
  load_model();
}

void PairMLIP::load_model() {
  set_units();
  allocate();
  std::string problem;
  device_.rank_on_node = rank_on_node();
  mlip::set_num_threads(comm->nthreads);
  try {
    model_ = mlip::Model::open(coeff_[0], target_, device_);
  } catch (const std::exception &failure) {
    problem = failure.what();
  }
  stop_everywhere_if(problem);
  read_types();
  loaded_ = true;
  log_model();
}

void PairMLIP::set_units() {
  if (std::strcmp(update->unit_style, "metal") == 0)
    energy_unit_ = 1.0;
  else if (std::strcmp(update->unit_style, "real") == 0)
    energy_unit_ = utils::get_conversion_factor(utils::ENERGY, utils::METAL2REAL);
  else
    error->all(FLERR,
               "{} works in eV and Angstrom, but the input says 'units {}': use 'units metal', or 'units "
               "real' for kcal/mol",
               style(), update->unit_style);
}

void PairMLIP::read_types() {
  const auto &model = model_->metadata();
  const int n = atom->ntypes, given = static_cast<int>(coeff_.size()) - 1;
  if (given != n)
    error->all(FLERR,
               "pair_coeff of {} needs one name for each of the {} atom types after the file name, got {}",
               style(), n, given);

  const bool hybrid = utils::strmatch(force->pair_style, "^hybrid");
  model_type_.assign(static_cast<std::size_t>(n) + 1, -1);
  for (int type = 1; type <= n; ++type) {
    const std::string &name = coeff_[static_cast<std::size_t>(type)];
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

// Before a run
// ---------------------------------------------------------------------------------------------------

void PairMLIP::init_style() {
  if (!loaded_) load_model(); // after a restart, or with new options
  set_units();
  for (int k = 1; k <= 3; ++k)
    if (!force->kspace && atom->nbonds > 0 && force->special_lj[k] == 0.0 && force->special_coul[k] == 0.0)
      error->all(FLERR,
                 "{} needs bonded atoms in the neighbor list, but special_bonds takes them out: add "
                 "'special_bonds lj/coul 1.0 1.0 1.0'",
                 style());
  mlip::set_num_threads(comm->nthreads);
  log_note_.clear();
  prepare_simulation();
  if (!force->newton_pair) reserve_communication(0, 9);
  log_simulation();
  checked_edges_ = 0;
  evaluated_step_ = -1;
}

void PairMLIP::request_neighbours(bool of_ghosts) {
  neighbor->add_request(this,
                        of_ghosts ? NeighConst::REQ_FULL | NeighConst::REQ_GHOST : NeighConst::REQ_FULL);
}

double PairMLIP::init_one(int i, int j) {
  if (setflag[i][j] == 0)
    error->all(FLERR, "{}: no pair_coeff line covers the atom types {} and {}", style(), i, j);
  const auto &model = model_->metadata();
  const int ti = model_type_[static_cast<std::size_t>(i)], tj = model_type_[static_cast<std::size_t>(j)];
  return std::max(model.cutoff(ti, tj), model.cutoff(tj, ti));
}

double PairMLIP::memory_usage() {
  return Pair::memory_usage() + graph_.memory_usage() +
         static_cast<double>(atom_of_.capacity() * sizeof(int)) +
         static_cast<double>(graph_index_.capacity() * sizeof(std::int64_t)) +
         static_cast<double>(ghost_rows_.capacity() * sizeof(double));
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
