"""Gated DeltaNet kernels for torch tensors and NumPy arrays.

The operations take torch tensors or NumPy arrays (never a mixture) and return the same kind. torch
is optional: without it everything works on NumPy arrays. With it, every operation is also a custom
op of the namespace ``torch.ops.gdn``, so that ``torch.compile`` can trace calls.

Names, shapes and options follow the gated delta rule functions of flash-linear-attention; what is
more than there comes as keyword arguments.
"""

from gdn import _decode, _delta_rule, _layer, stages
from gdn._decode import *
from gdn._delta_rule import *
from gdn._layer import *
from gdn._settings import (
    get_include,
    get_library_dir,
    get_num_threads,
    info,
    set_num_threads,
    use,
)
from gdn._settings import version as __version__

__all__ = [
    "__version__",
    "get_include",
    "get_library_dir",
    "get_num_threads",
    "info",
    "set_num_threads",
    "stages",
    "use",
]
__all__ += _decode.__all__
__all__ += _delta_rule.__all__
__all__ += _layer.__all__
