# rendered from recipes/sites/frontier/site.yaml by mlip job render
#
# For work by hand on frontier: `. env.sh`, then programs as they are: nequip-train ...
# Jobs do not read this file: their scripts say the same.
# shellcheck shell=bash
MLIP_LOCAL=${MLIP_LOCAL:-/mnt/bb/$USER/mlip-${SLURM_JOB_ID:-$USER}}
mkdir -p "$MLIP_LOCAL/tmp" 2>/dev/null || MLIP_LOCAL=/tmp/mlip-$USER # on a login node
export MLIP_LOCAL
command -v module >/dev/null || { echo "mlip: there is no command module: is this frontier?" >&2; exit 1; }
module reset # what was loaded when the job was submitted does not count
module load PrgEnv-gnu # the compilers that OLCF's page on PyTorch uses
module load cpe/25.09 # the programming environment the stack was matched to
module load rocm/6.4.2 # the ROCm of the stack
module load craype-accel-amd-gfx90a # GPU transport (GTL) of Cray MPICH
export OMP_NUM_THREADS="1" # ranks share a node; the Frontier tutorial found one thread a rank faster
export HYDRA_FULL_ERROR="0" # nequip-train says what is wrong in one sentence; 1 adds the traceback
export WANDB_MODE="offline" # compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
export TMPDIR="$MLIP_LOCAL/tmp" # compiled models are unpacked and loaded from there, many small files
export LD_LIBRARY_PATH="$CRAY_LD_LIBRARY_PATH:$LD_LIBRARY_PATH" # with a programming environment that is not the default, libraries are found through it only
export MPICH_GPU_SUPPORT_ENABLED="1" # MPI from GPU memory; LAMMPS with Kokkos reads it, too. MPI aborts if the GTL library is not loaded
export GLOO_SOCKET_IFNAME="hsn0" # Slingshot; gloo would take the first card it finds
export TRITON_CACHE_DIR="$MLIP_LOCAL/cache/triton" # many small files that ranks of all nodes would write to one file system
export TORCHINDUCTOR_CACHE_DIR="$MLIP_LOCAL/cache/inductor" # what torch.compile and AOTInductor generate, many small files as well
export PYTORCH_KERNEL_CACHE_PATH="$MLIP_LOCAL/cache/kernels" # kernels that torch compiles while it runs, many small files as well
export MIOPEN_USER_DB_PATH="$MLIP_LOCAL/cache/miopen" # MIOpen's database does not work on Orion; disk errors otherwise
export MIOPEN_CUSTOM_CACHE_DIR="$MLIP_LOCAL/cache/miopen" # MIOpen's kernels, for the same reason as its database
mkdir -p "$TMPDIR" "$TRITON_CACHE_DIR" "$TORCHINDUCTOR_CACHE_DIR" "$PYTORCH_KERNEL_CACHE_PATH" "$MIOPEN_USER_DB_PATH" "$MIOPEN_CUSTOM_CACHE_DIR"
# MLIP_VENV is the Python environment with mlip, MLIP_VIEW the view of Spack's environment with lmp.
export PATH="${MLIP_VENV:+$MLIP_VENV/bin:}${MLIP_VIEW:+$MLIP_VIEW/bin:}$PATH"
