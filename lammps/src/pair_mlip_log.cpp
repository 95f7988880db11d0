// SPDX-License-Identifier: GPL-2.0-or-later
//
// What a run is made of, in the log and once; warnings and messages that need more than a line.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

void PairMLIP::log_model() const {
  if (comm->me != 0) return;
  const auto &model = model_->metadata();
  std::string types;
  for (int type = 1; type <= atom->ntypes; ++type) {
    const int index = model_type_[static_cast<std::size_t>(type)];
    types += (type > 1 ? ", " : "") + std::to_string(type) + " = " +
             (index < 0 ? "NULL" : model.type_names[static_cast<std::size_t>(index)]);
  }
  const std::string made = model.provenance_line();
  utils::logmesg(lmp, "{}: {}{}\n  atom types {}; cutoff {} Angstrom; precision {}\n", style(), model.file,
                 made.empty() ? "" : "\n  made by " + made, types, model.r_max,
                 model.dtype.empty() ? "unknown" : model.dtype);
  utils::logmesg(lmp, "  {}, {} thread(s) per rank{}\n", model_->description(), comm->nthreads,
                 model.threads.empty() ? "" : ", compiled for " + model.threads);
  if (energy_unit_ != 1.0)
    utils::logmesg(lmp, "  units {}: the model's eV times {}\n", update->unit_style, energy_unit_);
  // The number of threads is part of the compiled code: it stays as it is whatever the run asks for.
  if (!model_->on_gpu() && !model.threads.empty() && model.threads != std::to_string(comm->nthreads))
    error->warning(
        FLERR,
        "model file '{}' was compiled for {} thread(s), but each rank has {}: set OMP_NUM_THREADS={} or "
        "compile it with nequip-compile --threads {}",
        model.file, model.threads, comm->nthreads, model.threads, comm->nthreads);
}

void PairMLIP::log_simulation() {
  const double skin = neighbor->skin, r_max = model_->metadata().r_max;
  std::string text = log_note_;
  if (skin == 0.0)
    text += "  advice: with a skin of 0 the neighbor list is built every step; 'neighbor 1.0 bin' is usual\n";
  else if (skin > 0.5 * r_max)
    text += fmt::format(
        "  advice: a skin of {} Angstrom is large for a cutoff of {}; 'neighbor 1.0 bin' is usual\n", skin,
        r_max);
  if (comm->me == 0 && !text.empty() && text != logged_) utils::logmesg(lmp, "{}:\n{}", style(), text);
  logged_ = text;
}

void PairMLIP::check_virial_request() {
  if (!vflag_atom && !cvflag_atom) return;
  const auto &outputs = model_->output_names();
  if (std::find(outputs.begin(), outputs.end(), "edge_forces") == outputs.end())
    error->all(FLERR,
               "{}: model file '{}' has no virial per atom, which compute stress/atom and heat/flux ask for: "
               "compile it with this project's nequip-compile, or use compute pressure for the whole system",
               style(), model_->metadata().file);
  if (cvflag_atom && !has_exact_heat_flux() && !warned_of_heat_flux_) {
    if (comm->me == 0)
      error->warning(
          FLERR,
          "{}: a heat flux from centroid/stress/atom is exact for strictly local models only (an Allegro "
          "model, or a NequIP model of one layer): energy that moves through messages is left out",
          style());
    warned_of_heat_flux_ = true;
  }
}

void PairMLIP::warn_if_memory_is_short(std::int64_t num_atoms, std::int64_t num_edges) {
  const auto &model = model_->metadata();
  if (!model_->on_gpu() || model.bytes_per_edge + model.bytes_per_atom == 0.0) return;
  if (checked_edges_ > 0 && num_edges <= checked_edges_ + checked_edges_ / 5) return;
  checked_edges_ = num_edges;
  const auto memory = model_->device_memory();
  const double need = model.bytes_per_atom * static_cast<double>(num_atoms) +
                      model.bytes_per_edge * static_cast<double>(num_edges);
  if (memory && need > memory->free)
    error->warning(
        FLERR,
        "{}: rank {} has {} atoms and {} edges, which take about {:.1f} GB of its GPU, but {:.1f} GB of "
        "{:.1f} GB are free: use more GPUs or a smaller system if it ends out of memory",
        style(), comm->me, num_atoms, num_edges, 1e-9 * need, 1e-9 * memory->free, 1e-9 * memory->total);
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
