-- rendered from recipes/sites/lumi/site.yaml by mlip job render
--
-- For work by hand on lumi: put it into a folder of `module use` as mlip/rocm-6.2.lua, then `module load mlip`.
help([[LUMI-G (CSC): 8 GCDs of AMD MI250X a node, Slingshot 11. Stack rocm-6.2: AMD GPUs (MI250X by default): Frontier's older environment, frozen for work that began on it.]])
whatis("Name: mlip")
whatis("Description: NequIP and Allegro potentials, training to LAMMPS")
family("mlip")

load("CrayEnv") -- Cray's programming environment without LUMI's own software on top
load("PrgEnv-gnu") -- Cray MPICH of GNU's compilers, of which the MPICH ABI is
load("craype-accel-amd-gfx90a") -- GPU transport (GTL) of Cray MPICH

local mlip_local = os.getenv("MLIP_LOCAL") or ("/tmp/mlip-" .. (os.getenv("USER") or "user"))
setenv("MLIP_LOCAL", mlip_local)
setenv("OMP_NUM_THREADS", "1") -- ranks share a node; the Frontier tutorial found one thread a rank faster
setenv("HYDRA_FULL_ERROR", "0") -- nequip-train says what is wrong in one sentence; 1 adds the traceback
setenv("WANDB_MODE", "offline") -- compute nodes have no way out; `wandb sync RUN/wandb/offline-*` on a login node uploads later
setenv("TMPDIR", mlip_local .. "/tmp") -- compiled models are unpacked and loaded from there, many small files
setenv("MPICH_GPU_SUPPORT_ENABLED", "1") -- MPI from GPU memory; LAMMPS with Kokkos reads it, too
setenv("NCCL_SOCKET_IFNAME", "hsn") -- RCCL finds its peers over Slingshot, and sends over it where the plugin aws-ofi-rccl is not there
setenv("NCCL_NET_GDR_LEVEL", "3") -- network cards read GPU memory; the default from ROCm 6.2 on
setenv("NCCL_DEBUG", "WARN") -- says why it stops; INFO shows whether the plugin is used
setenv("TRITON_CACHE_DIR", mlip_local .. "/cache/triton") -- many small files that ranks of all nodes would write to one file system
setenv("TORCHINDUCTOR_CACHE_DIR", mlip_local .. "/cache/inductor") -- what torch.compile and AOTInductor generate, many small files as well
setenv("PYTORCH_KERNEL_CACHE_PATH", mlip_local .. "/cache/kernels") -- kernels that torch compiles while it runs, many small files as well
setenv("MIOPEN_USER_DB_PATH", mlip_local .. "/cache/miopen") -- MIOpen's database does not work on Lustre
setenv("MIOPEN_CUSTOM_CACHE_DIR", mlip_local .. "/cache/miopen") -- MIOpen's kernels, for the same reason as its database

local image = os.getenv("MLIP_IMAGE") or "mlip-rocm-6.2.sif"
setenv("MLIP_IMAGE", image)
append_path("SINGULARITY_BINDPATH", "/opt/cray", ",") -- Cray MPICH, its GPU transport and libfabric
append_path("SINGULARITY_BINDPATH", "/var/spool/slurmd", ",") -- Cray MPICH asks Slurm there who is who
append_path("SINGULARITY_BINDPATH", "/usr/lib64/libcxi.so.1", ",") -- the library of the network card
append_path("SINGULARITY_BINDPATH", "/usr/lib64/libjansson.so.4", ",") -- libfabric is linked to it
append_path("SINGULARITY_BINDPATH", "/pfs,/scratch,/projappl,/project,/flash,/appl", ",") -- folders of projects are links between these
setenv("SINGULARITYENV_LD_LIBRARY_PATH", (os.getenv("CRAY_MPICH_DIR") or "") .. "/lib-abi-mpich:" .. (os.getenv("CRAY_MPICH_ROOTDIR") or "") .. "/gtl/lib:" .. (os.getenv("CRAY_LD_LIBRARY_PATH") or "") .. ":/opt/cray/pe/lib64:/usr/lib64") -- the host's libmpi.so.12 before the image's
setenv("SINGULARITYENV_LD_PRELOAD", (os.getenv("CRAY_MPICH_ROOTDIR") or "") .. "/gtl/lib/libmpi_gtl_hsa.so.0") -- the image's lmp is not linked to the GPU transport, which GPU-aware MPI needs
set_alias("inside", "singularity exec --rocm " .. image)
