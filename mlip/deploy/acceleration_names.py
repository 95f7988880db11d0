"""The names of the modifiers that choose kernels, for whoever only has to know them."""

ACCELERATIONS = (
    "enable_OpenEquivariance",
    "enable_CuEquivariance",
    "enable_TritonContracter",
    "enable_CuEquivarianceContracter",
)
