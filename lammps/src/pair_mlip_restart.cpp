// SPDX-License-Identifier: GPL-2.0-or-later
//
// Restart files hold the options and, but for hybrid styles, the pair_coeff line. The model is loaded when
// the run starts, so that another pair_coeff line may name a file that exists here.

#include "pair_mlip.h"

#include "atom.h"
#include "comm.h"
#include "error.h"
#include "utils.h"

#include <algorithm>

using namespace LAMMPS_NS;

namespace {

constexpr int format = 1; // of what follows

void write_int(FILE *file, int value) {
  fwrite(&value, sizeof(int), 1, file);
}

} // namespace

std::vector<int> PairMLIP::options_as_numbers() const {
  return {static_cast<int>(device_.kind), device_.index, device_.tf32 ? (*device_.tf32 ? 1 : 0) : -1};
}

void PairMLIP::set_options_from_numbers(const std::vector<int> &numbers) {
  reset_options();
  if (numbers.size() < 3) return;
  device_.kind = static_cast<mlip::DeviceRequest::Kind>(numbers[0]);
  device_.index = numbers[1];
  if (numbers[2] >= 0) device_.tf32 = numbers[2] == 1;
}

void PairMLIP::write_restart_settings(FILE *file) {
  const auto numbers = options_as_numbers();
  write_int(file, format);
  write_int(file, static_cast<int>(numbers.size()));
  fwrite(numbers.data(), sizeof(int), numbers.size(), file);
}

void PairMLIP::write_restart(FILE *file) {
  write_restart_settings(file);
  write_int(file, static_cast<int>(coeff_.size()));
  for (const auto &word : coeff_) {
    write_int(file, static_cast<int>(word.size()));
    fwrite(word.data(), 1, word.size(), file);
  }
}

void PairMLIP::read_restart_settings(FILE *file) {
  const auto read_int = [&] {
    int value = 0;
    if (comm->me == 0) utils::sfread(FLERR, &value, sizeof(int), 1, file, nullptr, error);
    MPI_Bcast(&value, 1, MPI_INT, 0, world);
    return value;
  };
  if (const int found = read_int(); found != format)
    error->all(FLERR, "{}: the restart file has settings of format {}, this version reads format {}", style(),
               found, format);
  std::vector<int> numbers(static_cast<std::size_t>(std::max(read_int(), 0)));
  for (int &number : numbers) number = read_int();
  set_options_from_numbers(numbers);
}

void PairMLIP::read_restart(FILE *file) {
  read_restart_settings(file);
  const auto read = [&](void *to, std::size_t bytes) {
    if (comm->me == 0) utils::sfread(FLERR, to, 1, bytes, file, nullptr, error);
    MPI_Bcast(to, static_cast<int>(bytes), MPI_CHAR, 0, world);
  };
  int count = 0;
  read(&count, sizeof(int));
  coeff_.assign(static_cast<std::size_t>(std::max(count, 0)), "");
  for (auto &word : coeff_) {
    int length = 0;
    read(&length, sizeof(int));
    word.resize(static_cast<std::size_t>(std::max(length, 0)));
    read(word.data(), word.size());
  }
  if (coeff_.empty()) return;
  allocate();
  for (int i = 1; i <= atom->ntypes; ++i)
    for (int j = i; j <= atom->ntypes; ++j) setflag[i][j] = 1;
  if (comm->me == 0)
    utils::logmesg(
        lmp, "  model file '{}' and its names come from the restart file; a pair_coeff line replaces them\n",
        coeff_[0]);
}
