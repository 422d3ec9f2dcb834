"""`Learner`: what all that learns has in common, its fields, its networks and what it has learned by name."""

from __future__ import annotations

import dataclasses
from abc import ABC
from collections.abc import Mapping
from typing import Any, TypeVar, final

import torch
from torch import Tensor, nn

L = TypeVar("L", bound="Learner")


class Learner(ABC):
    """Something that learns from images.

    A learner is a dataclass: its fields are the paper's hyper-parameters, and so also its
    configuration. What it learns goes into tensors whose names end in an underscore, and into the
    networks and further learners that `_build` makes; these are exactly what is saved.
    """

    seed: int  # decides all that is random
    channels_: Tensor  # of the images that it learned from

    @final
    def state(self) -> dict[str, Tensor]:
        """Everything learned, by name."""
        tensors = {k: v for k, v in vars(self).items() if k.endswith("_") and isinstance(v, Tensor)}
        parts = {f"{name}:{k}": v for name, part in self._parts().items() for k, v in part.state().items()}
        return tensors | self.weights() | parts

    @final
    def weights(self) -> dict[str, Tensor]:
        """Weights and buffers of all networks, by name: what a training may start from."""
        return {
            f"{name}.{k}": v for name, net in self._networks().items() for k, v in net.state_dict().items()
        }

    @final
    def load_state(self: L, tensors: Mapping[str, Tensor]) -> L:
        """Take over what another learner with the same fields has learned."""
        self._forget()
        for name, tensor in tensors.items():
            if "." not in name and ":" not in name:
                setattr(self, name, tensor)
        self._build_networks()
        self._load_networks({name: tensor for name, tensor in tensors.items() if ":" not in name})
        for name, part in self._parts().items():
            own = f"{name}:"
            part.load_state({k.removeprefix(own): v for k, v in tensors.items() if k.startswith(own)})
        for net in self._networks().values():
            net.eval()
        return self

    @final
    def fields(self) -> dict[str, Any]:
        """The hyper-parameters, as plain values."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]

    def _build(self, channels: int) -> None:
        """Create networks and learners as attributes; called before learning and before loading."""
        return  # a method without networks has nothing to build

    def _build_networks(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self._build(int(self.channels_))

    def _load_networks(self, tensors: Mapping[str, Tensor]) -> None:
        for name, net in self._networks().items():
            prefix = f"{name}."
            net.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )

    def _networks(self) -> dict[str, nn.Module]:
        return {k: v for k, v in vars(self).items() if isinstance(v, nn.Module)}

    def _parts(self) -> dict[str, Learner]:
        return {k: v for k, v in vars(self).items() if isinstance(v, Learner)}

    def _forget(self) -> None:
        learned = [k for k in vars(self) if k.endswith("_")]
        for name in [*learned, *self._networks(), *self._parts()]:
            delattr(self, name)
