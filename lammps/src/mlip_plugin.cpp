// SPDX-License-Identifier: GPL-2.0-or-later
//
// The entry LAMMPS calls in a plugin: it registers the pair and compute styles.

#include "compute_mlip.h"
#include "pair_allegro.h"
#include "pair_nequip.h"
#ifdef MLIP_KOKKOS
#include "pair_allegro_kokkos.h"
#include "pair_nequip_kokkos.h"
#endif

#include "lammps.h"

using namespace LAMMPS_NS;

namespace {

// The interface of LAMMPS's plugin loader, which the lammps package of the Python index has no header for:
// the names are ours, the order and types of the members are LAMMPS's.
struct PluginStyle {
  const char *version;
  const char *style;
  const char *name;
  const char *info;
  const char *author;
  union {
    void *(*without_arguments)(void *);
    void *(*with_arguments)(void *, int, char **);
  } create;
  void *handle;
};
using RegisterStyle = void (*)(PluginStyle *, void *);

template <class Style>
void *create_pair(void *lmp) {
  return static_cast<Pair *>(new Style(static_cast<LAMMPS *>(lmp)));
}

template <class Style>
void *create_compute(void *lmp, int narg, char **arg) {
  return static_cast<Compute *>(new Style(static_cast<LAMMPS *>(lmp), narg, arg));
}

} // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *register_style) {
  PluginStyle style;
  style.version = MLIP_LAMMPS_VERSION;
  style.author = "the mlip developers";
  style.handle = handle;
  const auto add = reinterpret_cast<RegisterStyle>(register_style);
  const auto add_pair = [&](const char *name, const char *info, void *(*create)(void *)) {
    style.style = "pair";
    style.name = name;
    style.info = info;
    style.create.without_arguments = create;
    add(&style, lmp);
  };
  const auto add_compute = [&](const char *name, const char *info, void *(*create)(void *, int, char **)) {
    style.style = "compute";
    style.name = name;
    style.info = info;
    style.create.with_arguments = create;
    add(&style, lmp);
  };
  add_pair("allegro", "Allegro models compiled for pair_allegro", create_pair<PairAllegro>);
  add_pair("nequip", "NequIP models compiled for pair_nequip", create_pair<PairNequIP>);
#ifdef MLIP_KOKKOS
  for (const char *name : {"allegro/kk", "allegro/kk/device"})
    add_pair(name, "Allegro models with Kokkos", create_pair<PairAllegroKokkos<LMPDeviceType>>);
  for (const char *name : {"nequip/kk", "nequip/kk/device"})
    add_pair(name, "NequIP models with Kokkos", create_pair<PairNequIPKokkos<LMPDeviceType>>);
  add_pair("allegro/kk/host", "Allegro models with Kokkos", create_pair<PairAllegroKokkos<LMPHostType>>);
  add_pair("nequip/kk/host", "NequIP models with Kokkos", create_pair<PairNequIPKokkos<LMPHostType>>);
#endif
  for (const char *name : {"allegro", "nequip"})
    add_compute(name, "an output of the model, summed over ranks", create_compute<ComputeMLIP>);
  for (const char *name : {"allegro/atom", "nequip/atom"})
    add_compute(name, "an output of the model for each atom", create_compute<ComputeMLIPAtom>);
}
