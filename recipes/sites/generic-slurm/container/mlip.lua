-- rendered from recipes/sites/generic-slurm/site.yaml by mlip job render
--
-- For work by hand on generic-slurm: put it into a folder of `module use` as mlip/cpu.lua, then `module load mlip`.
help([[any cluster with Slurm, CPUs. Stack cpu: CPUs, with LAMMPS and Kokkos from Debian's archive.]])
whatis("Name: mlip")
whatis("Description: NequIP and Allegro potentials, training to LAMMPS")
family("mlip")


local mlip_local = os.getenv("MLIP_LOCAL") or ("/tmp/mlip-" .. (os.getenv("USER") or "user"))
setenv("MLIP_LOCAL", mlip_local)
setenv("OMP_NUM_THREADS", "1") -- ranks share a node; the Frontier tutorial found one thread a rank faster
setenv("HYDRA_FULL_ERROR", "0") -- nequip-train says what is wrong in one sentence; 1 adds the traceback
setenv("WANDB_MODE", "offline") -- compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
setenv("TMPDIR", mlip_local .. "/tmp") -- compiled models are unpacked and loaded from there, many small files
setenv("TRITON_CACHE_DIR", mlip_local .. "/cache/triton") -- many small files that ranks of all nodes would write to one file system
setenv("TORCHINDUCTOR_CACHE_DIR", mlip_local .. "/cache/inductor") -- what torch.compile and AOTInductor generate, many small files as well
setenv("PYTORCH_KERNEL_CACHE_PATH", mlip_local .. "/cache/kernels") -- kernels that torch compiles while it runs, many small files as well

local image = os.getenv("MLIP_IMAGE") or "mlip-cpu.sif"
setenv("MLIP_IMAGE", image)
set_alias("inside", "apptainer exec " .. image)
