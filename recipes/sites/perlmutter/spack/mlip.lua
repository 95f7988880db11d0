-- rendered from recipes/sites/perlmutter/site.yaml by mlip job render
--
-- For work by hand on perlmutter: put it into a folder of `module use` as mlip/cuda.lua, then `module load mlip`.
help([[Perlmutter (NERSC): 4 NVIDIA A100 a node, Slingshot 11. Stack cuda: NVIDIA GPUs (H100 by default), with Kokkos on CUDA.]])
whatis("Name: mlip")
whatis("Description: NequIP and Allegro potentials, training to LAMMPS")
family("mlip")

load("PrgEnv-gnu") -- compilers and Cray MPICH
load("cudatoolkit") -- CUDA's compiler and libraries
load("craype-accel-nvidia80") -- GPU transport (GTL) of Cray MPICH

local mlip_local = os.getenv("MLIP_LOCAL") or ("/tmp/mlip-" .. (os.getenv("USER") or "user"))
setenv("MLIP_LOCAL", mlip_local)
setenv("OMP_NUM_THREADS", "1") -- ranks share a node; the Frontier tutorial found one thread a rank faster
setenv("HYDRA_FULL_ERROR", "0") -- nequip-train says what is wrong in one sentence; 1 adds the traceback
setenv("WANDB_MODE", "offline") -- compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
setenv("TMPDIR", mlip_local .. "/tmp") -- compiled models are unpacked and loaded from there, many small files
setenv("MPICH_GPU_SUPPORT_ENABLED", "1") -- MPI from GPU memory; LAMMPS with Kokkos reads it, too
setenv("NCCL_SOCKET_IFNAME", "hsn") -- NCCL finds its peers over Slingshot
setenv("NCCL_DEBUG", "WARN") -- says why it stops; INFO shows whether the plugin is used
setenv("NCCL_CROSS_NIC", "1") -- rings and trees may use all network cards
setenv("NCCL_NET_GDR_LEVEL", "PHB") -- network cards read GPU memory on the same host bridge
setenv("FI_MR_CACHE_MONITOR", "userfaultfd") -- the cache monitor NERSC sets for NCCL (Frontier's is kdreg2)
setenv("FI_CXI_DISABLE_HOST_REGISTER", "1") -- avoids a deadlock between libfabric and CUDA
prepend_path("LD_LIBRARY_PATH", "/global/common/software/nersc9/nccl/2.19/plugin/lib") -- the plugin for NCCL over Slingshot (aws-ofi-nccl)
setenv("TRITON_CACHE_DIR", mlip_local .. "/cache/triton") -- many small files that ranks of all nodes would write to one file system
setenv("TORCHINDUCTOR_CACHE_DIR", mlip_local .. "/cache/inductor") -- what torch.compile and AOTInductor generate, many small files as well
setenv("PYTORCH_KERNEL_CACHE_PATH", mlip_local .. "/cache/kernels") -- kernels that torch compiles while it runs, many small files as well

-- MLIP_VENV is the Python environment with mlip, MLIP_VIEW the view of Spack's environment with lmp.
for _, name in ipairs({"MLIP_VIEW", "MLIP_VENV"}) do
  local folder = os.getenv(name)
  if folder then prepend_path("PATH", pathJoin(folder, "bin")) end
end
