// SPDX-License-Identifier: GPL-2.0-or-later
//
// Options, and the choice of the exchange between ranks.

#include "pair_nequip.h"

#include "atom.h"
#include "comm.h"
#include "domain.h"
#include "error.h"
#include "neighbor.h"
#include "update.h"
#include "utils.h"

#include <algorithm>
#include <cmath>

using namespace LAMMPS_NS;

namespace {

constexpr double worth_exchanging = 1.5; // atoms computed per atom, from which on stages are faster

} // namespace

PairNequIP::PairNequIP(LAMMPS *lmp)
    : PairMLIP(lmp, {"pair_nequip",
                     {"pos", "edge_index", "atom_types", "cell", "edge_cell_shift"},
                     {"atomic_energy", "forces", "virial"}}) {}

PairNequIP::~PairNequIP() {
  if (!copymode && comm) restore_communication();
}

// Options
// --------------------------------------------------------------------------------------------------------

void PairNequIP::reset_options() {
  PairMLIP::reset_options();
  exchange_asked_ = Exchange::automatic;
  layers_asked_ = 0;
}

bool PairNequIP::read_option(const std::string &name, const std::string &value) {
  if (name == "exchange") {
    exchange_asked_ = value == "extended" ? Exchange::extended
                      : value == "staged" ? Exchange::staged
                                          : Exchange::automatic;
    return value == "auto" || value == "extended" || value == "staged";
  }
  if (name == "layers") {
    if (!is_small_number(value)) return false;
    layers_asked_ = std::stoi(value);
    return layers_asked_ >= 1;
  }
  return PairMLIP::read_option(name, value);
}

std::string PairNequIP::option_names() const {
  return PairMLIP::option_names() + ", exchange auto|extended|staged, layers N";
}

std::vector<int> PairNequIP::options_as_numbers() const {
  auto numbers = PairMLIP::options_as_numbers();
  numbers.push_back(static_cast<int>(exchange_asked_));
  numbers.push_back(layers_asked_);
  return numbers;
}

void PairNequIP::set_options_from_numbers(const std::vector<int> &numbers) {
  PairMLIP::set_options_from_numbers(numbers);
  if (numbers.size() < 5) return;
  exchange_asked_ = static_cast<Exchange>(numbers[3]);
  layers_asked_ = numbers[4];
}

// Choice
// ---------------------------------------------------------------------------------------------------------

int PairNequIP::choose_layers() const {
  const auto &model = model_->metadata();
  if (layers_asked_ > 0 && model.num_layers > 0 && layers_asked_ != model.num_layers)
    error->all(FLERR, "{}: 'layers {}' contradicts model file '{}', which has {}: leave the option out",
               style(), layers_asked_, model.file, model.num_layers);
  return model.num_layers > 0 ? model.num_layers : layers_asked_;
}

PairNequIP::Exchange PairNequIP::choose_exchange() const {
  const auto &model = model_->metadata();
  const bool automatic = exchange_asked_ == Exchange::automatic;
  if (automatic && comm->nprocs == 1) return Exchange::periodic;
  if (layers_ == 0)
    error->all(FLERR,
               "{} on {} ranks must know how many layers pass messages, and model file '{}' does not say: "
               "compile it "
               "with this project's nequip-compile, or write 'pair_style nequip layers N' with the model's "
               "num_layers",
               style(), comm->nprocs, model.file);
  if (layers_ == 1) return Exchange::extended;
  if (exchange_asked_ == Exchange::staged && !model.has_stages)
    error->all(
        FLERR,
        "{}: 'exchange staged' needs a model file with stages, and '{}' has none: compile it with this "
        "project's nequip-compile, or leave the option out",
        style(), model.file);
  if (exchange_asked_ == Exchange::extended && !model.has_ghost_types)
    error->all(FLERR,
               "{}: 'exchange extended' needs a model file that can leave the energy of ghosts out, and '{}' "
               "cannot: "
               "compile it with this project's nequip-compile, or leave the option out",
               style(), model.file);
  if (!automatic) return exchange_asked_;
  if (!model.has_ghost_types) return Exchange::complete;
  const bool much = computed_per_atom((layers_ - 1) * model.r_max) > worth_exchanging;
  return model.has_stages && much ? Exchange::staged : Exchange::extended;
}

double PairNequIP::computed_per_atom(double halo) const {
  const double volume = domain->xprd * domain->yprd * domain->zprd; // of tilted boxes, too
  const double edge = std::cbrt(volume / comm->nprocs);
  // Faces are as far apart as 1 / |row of the inverse cell|; without tilts these are the lengths of the box.
  const double *const inv = domain->h_inv; // Voigt order: xx yy zz yz xz xy
  const double heights[3] = {1.0 / std::hypot(inv[0], inv[5], inv[4]), 1.0 / std::hypot(inv[1], inv[3]),
                             1.0 / std::abs(inv[2])};
  double factor = 1.0;
  for (int d = 0; d < 3; ++d) {
    // the distance between the faces of a subdomain; for other decompositions than bricks, as if it were a
    // cube
    const double height = heights[d];
    const bool bricks = comm->layout != Comm::LAYOUT_TILED;
    const double length = bricks ? height / comm->procgrid[d] : edge;
    double with_ghosts = length + 2.0 * halo;
    if (!domain->periodicity[d]) with_ghosts = std::min(with_ghosts, height); // beyond there are no atoms
    factor *= std::max(with_ghosts / length, 1.0);
  }
  return factor;
}

void PairNequIP::prepare_simulation() {
  const auto &model = model_->metadata();
  layers_ = choose_layers();
  exchange_ = choose_exchange();
  images_known_ = false;
  restore_communication();

  int shells = 1; // cutoffs within which ghosts are needed
  if (exchange_ == Exchange::periodic) {
    if (!atom->tag_enable)
      error->all(FLERR,
                 "{} needs atom IDs to know which atom a ghost is an image of: remove 'atom_modify id no'",
                 style());
    log_note_ = "  one rank: the periodic system as one graph\n";
  } else if (exchange_ == Exchange::extended) {
    shells = layers_;
    log_note_ =
        fmt::format("  exchange extended: {} layer(s), each rank computes {:.2f} atoms for each of its own\n",
                    layers_, computed_per_atom((layers_ - 1) * model.r_max));
  } else if (exchange_ == Exchange::complete) {
    shells = 2 * layers_;
    log_note_ =
        fmt::format("  exchange complete: {} layer(s), each rank computes {:.2f} atoms for each of its own, "
                    "because the model file counts the energy of ghosts\n",
                    layers_, computed_per_atom((2 * layers_ - 1) * model.r_max));
    if (comm->me == 0)
      error->warning(
          FLERR,
          "{}: on several ranks model file '{}' gives no virial, and the pressure is nan: for constant "
          "pressure compile it with this project's nequip-compile, or run one rank",
          style(), model.file);
  } else {
    std::string problem;
    try {
      model_->load_stages();
    } catch (const mlip::ModelError &failure) {
      problem = failure.what();
    }
    stop_everywhere_if(problem);
    const auto &widths = model.layer_widths;
    const int widest = widths.empty() ? 0 : *std::max_element(widths.begin(), widths.end());
    reserve_communication(widest, widest);
    log_note_ =
        fmt::format("  exchange staged: {} layers, up to {} features per atom sent between them; extended "
                    "would compute {:.2f} atoms for each\n",
                    layers_, widest, computed_per_atom((layers_ - 1) * model.r_max));
  }
  if (shells > 1) widen_communication(shells * model.r_max + neighbor->skin);
  if (exchange_ != Exchange::periodic)
    log_note_ += fmt::format("  communication cutoff {} Angstrom\n",
                             std::max(comm->cutghostuser, model.r_max + neighbor->skin));
  request_neighbours(shells > 1);
}

void PairNequIP::widen_communication(double cutoff) {
  if (comm->mode != Comm::SINGLE)
    error->all(FLERR, "{} needs ghosts within {} Angstrom: write 'comm_modify mode single'", style(), cutoff);
  if (comm->cutghostuser >= cutoff) return;
  user_cutoff_ = comm->cutghostuser;
  comm->cutghostuser = our_cutoff_ = cutoff;
}

void PairNequIP::restore_communication() {
  // Unless a comm_modify line, or another style, has changed it since.
  if (our_cutoff_ > 0.0 && comm->cutghostuser == our_cutoff_) comm->cutghostuser = user_cutoff_;
  our_cutoff_ = 0.0;
}

// A step
// ---------------------------------------------------------------------------------------------------------

void PairNequIP::build_graph() {
  switch (exchange_) {
  case Exchange::periodic:
    return build_periodic_graph();
  case Exchange::extended:
    return build_extended_graph(layers_);
  case Exchange::complete:
    return build_extended_graph(2 * layers_);
  default:
    return build_extended_graph(1);
  }
}

mlip::Prediction PairNequIP::predict() {
  return exchange_ == Exchange::staged ? predict_in_stages() : PairMLIP::predict();
}

mlip::NamedOutput PairNequIP::output(const std::string &name) {
  if (exchange_ == Exchange::staged)
    error->all(FLERR,
               "{}: a model that runs layer by layer has no output '{}': write 'pair_style nequip exchange "
               "extended'",
               style(), name);
  return PairMLIP::output(name);
}

void PairNequIP::print_edges() const {
  utils::logmesg(lmp, "NEQUIP edges: i j xi[:] xj[:] cell_shift[:] rij\n");
  const double *const cell = graph_.cell;
  const double none[3] = {0.0, 0.0, 0.0};
  for (std::int64_t e = 0; e < graph_.num_edges(); ++e) {
    const auto i = graph_.centre(e), j = graph_.neighbour(e);
    const double *xi = graph_.position(i), *xj = graph_.position(j);
    const double *s = graph_.has_shifts() ? graph_.shift(e) : none;
    double r[3];
    for (int d = 0; d < 3; ++d)
      r[d] = xj[d] - xi[d] + s[0] * cell[d] + s[1] * cell[3 + d] + s[2] * cell[6 + d];
    utils::logmesg(lmp, "{} {} {:.10g} {:.10g} {:.10g} {:.10g} {:.10g} {:.10g} {} {} {} {:.10g}\n",
                   atom->tag[atom_of_[static_cast<std::size_t>(i)]] - 1,
                   atom->tag[atom_of_[static_cast<std::size_t>(j)]] - 1, xi[0], xi[1], xi[2], xj[0], xj[1],
                   xj[2], s[0], s[1], s[2], std::hypot(r[0], r[1], r[2]));
  }
  utils::logmesg(lmp, "end NEQUIP edges\n");
}
