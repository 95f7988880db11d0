// SPDX-License-Identifier: MIT

#include "process_settings.h"

#include <ATen/Parallel.h>

#include <cstdlib>
#include <cstring>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace mlip {

void set_num_threads(int threads) {
  if (threads > 0 && threads != at::get_num_threads()) at::set_num_threads(threads);
}

void keep_freed_memory() {
#ifdef __GLIBC__
  // A compiled model allocates and frees its buffers of many MB every step. By default glibc maps each of
  // them from the kernel and unmaps it again, and the page faults of touching new pages take a quarter to a
  // half of the time of a step. Kept on the heap, the same pages serve every step.
  if (std::getenv("GLIBC_TUNABLES")) return;
  const char *choice = std::getenv("MLIP_MALLOC");
  if (choice && std::strcmp(choice, "default") == 0) return;
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1); // never hand the top of the heap back
  mallopt(M_TOP_PAD, 256 << 20); // grow it in few, large steps
#endif
}

} // namespace mlip
