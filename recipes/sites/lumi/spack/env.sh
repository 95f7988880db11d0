# rendered from recipes/sites/lumi/site.yaml by mlip job render
#
# For work by hand on lumi: `. env.sh`, then programs as they are: nequip-train ...
# Jobs do not read this file: their scripts say the same.
# shellcheck shell=bash
MLIP_LOCAL=${MLIP_LOCAL:-/tmp/mlip-${SLURM_JOB_ID:-$USER}}
mkdir -p "$MLIP_LOCAL/tmp" 2>/dev/null || MLIP_LOCAL=/tmp/mlip-$USER # on a login node
export MLIP_LOCAL
command -v module >/dev/null || { echo "mlip: there is no command module: is this lumi?" >&2; exit 1; }
module load CrayEnv # Cray's programming environment without LUMI's own software on top
module load PrgEnv-gnu # Cray MPICH of GNU's compilers, of which the MPICH ABI is
module load craype-accel-amd-gfx90a # GPU transport (GTL) of Cray MPICH
module load rocm # ROCm of the programming environment; versions are LUMI's
export OMP_NUM_THREADS="1" # ranks share a node; the Frontier tutorial found one thread a rank faster
export HYDRA_FULL_ERROR="0" # nequip-train says what is wrong in one sentence; 1 adds the traceback
export WANDB_MODE="offline" # compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
export TMPDIR="$MLIP_LOCAL/tmp" # compiled models are unpacked and loaded from there, many small files
export MPICH_GPU_SUPPORT_ENABLED="1" # MPI from GPU memory; LAMMPS with Kokkos reads it, too
export NCCL_SOCKET_IFNAME="hsn" # RCCL finds its peers over Slingshot, and sends over it where the plugin aws-ofi-rccl is not there
export NCCL_NET_GDR_LEVEL="3" # network cards read GPU memory; the default from ROCm 6.2 on
export NCCL_DEBUG="WARN" # says why it stops; INFO shows whether the plugin is used
export TRITON_CACHE_DIR="$MLIP_LOCAL/cache/triton" # many small files that ranks of all nodes would write to one file system
export TORCHINDUCTOR_CACHE_DIR="$MLIP_LOCAL/cache/inductor" # what torch.compile and AOTInductor generate, many small files as well
export PYTORCH_KERNEL_CACHE_PATH="$MLIP_LOCAL/cache/kernels" # kernels that torch compiles while it runs, many small files as well
export MIOPEN_USER_DB_PATH="$MLIP_LOCAL/cache/miopen" # MIOpen's database does not work on Lustre
export MIOPEN_CUSTOM_CACHE_DIR="$MLIP_LOCAL/cache/miopen" # MIOpen's kernels, for the same reason as its database
mkdir -p "$TMPDIR" "$TRITON_CACHE_DIR" "$TORCHINDUCTOR_CACHE_DIR" "$PYTORCH_KERNEL_CACHE_PATH" "$MIOPEN_USER_DB_PATH" "$MIOPEN_CUSTOM_CACHE_DIR"
# MLIP_VENV is the Python environment with mlip, MLIP_VIEW the view of Spack's environment with lmp.
export PATH="${MLIP_VENV:+$MLIP_VENV/bin:}${MLIP_VIEW:+$MLIP_VIEW/bin:}$PATH"
