"""Puts what tests create on the device under test (GDN_TEST_DEVICE)."""

import torch
from support import DEVICE, ON_GPU

if ON_GPU:
    torch.set_default_device(DEVICE)
    # torch's own convolutions in full float32, as they are on the CPU.
    torch.backends.cudnn.allow_tf32 = False
