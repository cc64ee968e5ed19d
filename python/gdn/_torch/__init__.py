"""torch custom ops (namespace gdn) with fake kernels, and functions that call them.

The functions here have the signatures of the extension module ``_C`` and go through torch's
dispatcher, so that torch.compile and its kind see one op. Ops whose name ends in an underscore
update a state pool or a convolution state in place and say so in their schema; the others are
functional. Absent results of ops are empty tensors, since a schema has no optional results.
"""

from gdn._torch import decode, delta_rule, layer, stages
from gdn._torch.decode import *
from gdn._torch.delta_rule import *
from gdn._torch.layer import *
from gdn._torch.stages import *

__all__ = [*decode.__all__, *delta_rule.__all__, *layer.__all__, *stages.__all__]
