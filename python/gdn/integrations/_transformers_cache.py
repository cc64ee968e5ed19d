"""One view of the convolution and recurrent states over the caches of all transformers versions.

| transformers | where a layer's states are |
|---|---|
| 4.57, 5.2 to 5.4 | lists of the cache: conv_states[layer], recurrent_states[layer] |
| 5.5 to 5.15 | attributes of cache.layers[layer], some releases behind a state index 0 |
| from 5.16 | behind a state index 0; update_conv_state also returns the columns to convolve |
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def states_of(cache, layer: int):
    """Returns the view of `cache` (any transformers cache) for one GDN layer."""
    if not hasattr(cache, "layers"):
        return _ListStates(cache, layer)
    if hasattr(cache.layers[layer], "record_past"):
        return _RecordingLayerStates(cache, layer)
    return _LayerStates(cache, layer)


def _window(columns: torch.Tensor, width: int) -> torch.Tensor:
    """The last `width` columns of [B, C, T], zeros before the first."""
    return F.pad(columns, (width - columns.shape[-1], 0))


class _ListStates:
    """States kept in lists of the cache itself."""

    recording = False

    def __init__(self, cache, layer: int):
        self._cache, self._layer = cache, layer

    @property
    def conv(self) -> torch.Tensor | None:
        """[B, C, width], newest last; None before the first call."""
        return self._cache.conv_states[self._layer]

    @property
    def recurrent(self) -> torch.Tensor | None:
        """[B, HV, DK, DV]; None before the first call."""
        return self._cache.recurrent_states[self._layer]

    def push_conv(self, columns: torch.Tensor, width: int) -> torch.Tensor:
        """Stores the newest `width` columns; returns `columns` after those kept before."""
        if self.conv is not None:
            columns = torch.cat([self.conv, columns], dim=-1)
        self._cache.conv_states[self._layer] = _window(columns, width).contiguous()
        return columns

    def store_recurrent(self, state: torch.Tensor) -> None:
        """Stores the state after the newest token."""
        self._cache.recurrent_states[self._layer] = state


class _LayerStates:
    """States kept in cache.layers[layer]."""

    recording = False

    def __init__(self, cache, layer: int):
        self._cache, self._layer = cache, layer
        self._states = cache.layers[layer]

    def _current(self, name: str) -> torch.Tensor | None:
        seen, state = self._states.has_previous_state, getattr(self._states, name)
        if isinstance(state, dict):
            state = state[0]
        if isinstance(seen, dict):
            seen = seen[0]
        return state if seen else None

    @property
    def conv(self) -> torch.Tensor | None:
        """[B, C, width], newest last; None before the first call."""
        return self._current("conv_states")

    @property
    def recurrent(self) -> torch.Tensor | None:
        """[B, HV, DK, DV]; None before the first call."""
        return self._current("recurrent_states")

    def push_conv(self, columns: torch.Tensor, width: int) -> torch.Tensor:
        """Stores the newest `width` columns; returns `columns` after those kept before."""
        if self.conv is not None:
            columns = torch.cat([self.conv, columns], dim=-1)
        self._cache.update_conv_state(_window(columns, width), self._layer)
        return columns

    def store_recurrent(self, state: torch.Tensor) -> None:
        """Stores the state after the newest token."""
        self._cache.update_recurrent_state(state, self._layer)


class _RecordingLayerStates(_LayerStates):
    """States of layers that can record past columns, to be cropped later."""

    @property
    def recording(self) -> bool:
        """Whether the convolution state grows until the cache is cropped."""
        return self._states.record_past

    def push_conv(self, columns: torch.Tensor, width: int) -> torch.Tensor:
        """Stores the newest `width` columns; returns `columns` after those kept before."""
        return self._cache.update_conv_state(columns, self._layer, conv_kernel_size=width)
