"""The environment variables that numbers may depend on, or that choose the hardware; others may hold secrets."""

from collections.abc import Mapping

VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG",
    "PYTHONHASHSEED", "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "ATEN_CPU_CAPABILITY",
    "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
)  # fmt: skip


def known_variables(environment: Mapping[str, object]) -> dict[str, str]:
    """Those of them that are set.

    >>> known_variables({"OMP_NUM_THREADS": "2", "API_KEY": "secret"})
    {'OMP_NUM_THREADS': '2'}
    """
    return {name: value for name in VARIABLES if isinstance(value := environment.get(name), str)}
