// SPDX-License-Identifier: GPL-2.0-or-later

#include "compute_mlip.h"

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "force.h"
#include "memory.h"
#include "update.h"
#include "utils.h"

#include <algorithm>

using namespace LAMMPS_NS;

ComputeModelOutput::ComputeModelOutput(LAMMPS *lmp, int narg, char **arg) : Compute(lmp, narg, arg) {
  pair_style_ = std::string(style).substr(0, std::string(style).find('/'));
  if (narg < 5)
    error->all(
        FLERR,
        "{} must read 'compute ID group {} FIELD LENGTH', with the name of an output of the model file",
        name(), style);
  field_ = arg[3];
  length_ = utils::inumeric(FLERR, arg[4], false, lmp);
  if (length_ < 1)
    error->all(FLERR, "{}: the length of '{}' must be at least 1, not {}", name(), field_, length_);
}

void ComputeModelOutput::init() {
  pair_ = nullptr;
  for (const char *suffix : {"", "/kk", "/kk/host", "/kk/device"})
    for (int instance : {0, 1}) // in a hybrid with several of them the first
      if (!pair_) pair_ = dynamic_cast<PairMLIP *>(force->pair_match(pair_style_ + suffix, 1, instance));
  if (!pair_)
    error->all(FLERR, "{} takes its values from 'pair_style {}', which this run does not use", name(),
               pair_style_);
  const auto &names = pair_->output_names();
  if (std::find(names.begin(), names.end(), field_) == names.end())
    error->all(FLERR, "{}: the model file has no output '{}': it has {}", name(), field_,
               mlip::join_words(names));
}

// Global
// ---------------------------------------------------------------------------------------------------------

ComputeMLIP::ComputeMLIP(LAMMPS *lmp, int narg, char **arg) : ComputeModelOutput(lmp, narg, arg) {
  if (narg > 5) error->all(FLERR, "{} takes a name and a length, and nothing more: '{}'", name(), arg[5]);
  vector_flag = 1;
  size_vector = length_;
  extvector = 1;
  mine_.resize(static_cast<std::size_t>(length_));
  sum_.resize(static_cast<std::size_t>(length_));
  vector = sum_.data();
}

ComputeMLIP::~ComputeMLIP() {
  vector = nullptr;
}

void ComputeMLIP::compute_vector() {
  invoked_vector = update->ntimestep;
  const auto found = pair_->output(field_);
  if (found.data && found.size != length_)
    error->one(FLERR, "{}: output '{}' has {} numbers, not {}; for outputs per atom use compute {}/atom",
               name(), field_, found.size, length_, pair_style_);
  if (found.data)
    std::copy_n(found.data, length_, mine_.begin());
  else
    std::fill(mine_.begin(), mine_.end(), 0.0);
  MPI_Allreduce(mine_.data(), sum_.data(), length_, MPI_DOUBLE, MPI_SUM, world);
}

// Per atom
// -------------------------------------------------------------------------------------------------------

ComputeMLIPAtom::ComputeMLIPAtom(LAMMPS *lmp, int narg, char **arg) : ComputeModelOutput(lmp, narg, arg) {
  if (narg > 6)
    error->all(FLERR, "{} takes a name, a length and 0 or 1, and nothing more: '{}'", name(), arg[6]);
  if (narg == 6) newton_ = utils::logical(FLERR, arg[5], false, lmp) == 1;
  peratom_flag = 1;
  size_peratom_cols = length_ == 1 ? 0 : length_;
  if (newton_) comm_reverse = length_;
}

ComputeMLIPAtom::~ComputeMLIPAtom() {
  memory->destroy(values_);
}

void ComputeMLIPAtom::compute_peratom() {
  invoked_peratom = update->ntimestep;
  if (atom->nmax > rows_) {
    memory->destroy(values_);
    rows_ = atom->nmax;
    memory->create(values_, rows_, length_, "compute:mlip");
    array_atom = values_;
    vector_atom = values_[0];
  }
  const int nlocal = atom->nlocal, nall = nlocal + atom->nghost;
  if (rows_ > 0)
    std::fill_n(values_[0], static_cast<std::size_t>(nall) * static_cast<std::size_t>(length_), 0.0);

  const auto found = pair_->output(field_);
  if (found.data) {
    const auto &atoms = pair_->output_atoms();
    if (found.size < static_cast<std::int64_t>(atoms.size()) * length_ || found.size % length_ != 0)
      error->one(FLERR, "{}: output '{}' has {} numbers, which are not {} for each of {} atoms", name(),
                 field_, found.size, length_, atoms.size());
    const double *row = found.data;
    for (const int i : atoms) {
      if (newton_ || i < nlocal)
        for (int k = 0; k < length_; ++k) values_[i][k] += row[k];
      row += length_;
    }
  }
  if (newton_) comm->reverse_comm(this);
  for (int i = 0; i < nlocal; ++i)
    if (!(atom->mask[i] & groupbit)) std::fill_n(values_[i], length_, 0.0);
}

int ComputeMLIPAtom::pack_reverse_comm(int n, int first, double *buf) {
  std::copy_n(values_[first], static_cast<std::size_t>(n) * static_cast<std::size_t>(length_), buf);
  return n * length_;
}

void ComputeMLIPAtom::unpack_reverse_comm(int n, int *list, double *buf) {
  for (int k = 0; k < n; ++k)
    for (int d = 0; d < length_; ++d) values_[list[k]][d] += *buf++;
}

double ComputeMLIPAtom::memory_usage() {
  return static_cast<double>(rows_) * length_ * sizeof(double);
}
