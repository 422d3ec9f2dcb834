"""A frozen ResNet in float32, by convolutions that multiply a quarter as often.

PyTorch multiplies every weight with every pixel under it, and comes close to what a processor can
multiply. Winograd's algorithm for 3x3 convolutions of stride 1 (Lavin, Gray, "Fast Algorithms for
Convolutional Neural Networks", CVPR 2016, https://arxiv.org/abs/1509.09308) needs fewer products:
ncnn (https://github.com/Tencent/ncnn) has it for CPUs. ResNet-18 takes two thirds of the time so, and
its maps agree with PyTorch's to about 1e-5.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import ncnn
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from intact.nets.resnet import STD, BasicBlock, ResNet


class WinogradResNet:
    """The maps of a `ResNet` of `BasicBlock`s whose batch norms are folded, on the CPU.

    Takes the weights as they are now. Other blocks spend their time in 1x1 convolutions, which
    have nothing to gain.

    Args:
        net: The network.
        channels: Of the images: 3, or 1 for grey ones.
    """

    def __init__(self, net: ResNet, channels: int) -> None:
        self.net, self.channels = net, channels
        self.size, self.black = torch.Size(), torch.empty(0)
        graph = _Graph()
        last = graph.convolution(_of_raw_images(net.conv1, channels), "image")
        (last,) = graph.add("BinaryOp", [last, "black"], "0=0")
        (last,) = graph.add("Pooling", [last], "0=0 1=3 2=2 3=1 5=1")  # maximum of 3x3, stride 2, padding 1
        (last,) = graph.add("ReLU", [last])
        self.outputs = []
        for stage in net.channels:
            for block in net.get_submodule(stage).children():
                assert isinstance(block, BasicBlock)
                last = graph.basic_block(block, last)
            if stage in net.outputs:
                last, output = graph.twice(last)
                self.outputs.append(output)
        self.engine = ncnn.Net()
        self.weights = bytes(graph.weights)  # which the engine goes on reading
        self.engine.opt.num_threads = 1
        for option in ("fp16_storage", "fp16_arithmetic", "fp16_packed", "bf16_storage"):
            setattr(self.engine.opt, f"use_{option}", False)
        self.engine.load_param_mem(graph.text())
        self.engine.load_model_mem(self.weights)

    def __reduce__(self) -> tuple[type[WinogradResNet], tuple[ResNet, int]]:
        """A copy is built anew from a copy of the network."""
        return WinogradResNet, (self.net, self.channels)

    def __call__(self, images: Float[Tensor, "n c h w"]) -> list[Tensor]:
        """What the network's own `forward` returns for images in [0, 1]."""
        if self.size != images.shape[-2:]:
            self.size = images.shape[-2:]
            black = self.net.standardised(images.new_zeros(1, 1, *self.size))
            self.black = self.net.conv1(black)[0].contiguous()
        # One image per thread: the threads that PyTorch and ncnn each keep would get in each other's way.
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            each = threads.map(self._maps, images.contiguous())
            return [torch.stack(maps) for maps in zip(*each, strict=True)]

    def _maps(self, image: Float[Tensor, "c h w"]) -> list[Tensor]:
        run = self.engine.create_extractor()
        run.input("image", ncnn.Mat(image.numpy()))
        run.input("black", ncnn.Mat(self.black.numpy()))
        maps = []
        for name in self.outputs:
            status, found = run.extract(name)
            if status:
                raise MemoryError(f"no memory for the maps of an image of {tuple(image.shape)} values")
            maps.append(torch.from_numpy(np.array(found)))
        return maps


def _of_raw_images(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A convolution of images in [0, 1]; a black image's map added, it is that of standardised images.

    A grey image then needs no three equal channels. What standardising subtracts is no mere bias:
    the border is padded with zeros after it.
    """
    weight = conv.weight.detach() / conv.weight.new_tensor(STD).view(1, 3, 1, 1)
    if channels == 1:
        weight = weight.sum(dim=1, keepdim=True)
    raw = nn.utils.skip_init(  # leaves the random numbers of a training that goes on as they are
        nn.Conv2d, channels, conv.out_channels, conv.kernel_size[0], conv.stride[0], conv.padding[0]
    )
    raw.weight.data.copy_(weight)
    raw.bias.data.zero_()
    return raw


class _Graph:
    """A network in ncnn's own terms: a line per layer, and all weights one after another."""

    def __init__(self) -> None:
        self.lines = ["Input image 0 1 image", "Input black 0 1 black"]
        self.values = len(self.lines)
        self.weights = bytearray()

    def text(self) -> str:
        return "\n".join(["7767517", f"{len(self.lines)} {self.values}", *self.lines, ""])

    def add(self, kind: str, inputs: list[str], settings: str = "", outputs: int = 1) -> list[str]:
        """Append a layer; the names of its outputs."""
        names = [f"v{self.values + i}" for i in range(outputs)]
        self.values += outputs
        values = " ".join([*inputs, *names])
        self.lines.append(f"{kind} {names[0]} {len(inputs)} {outputs} {values} {settings}")
        return names

    def twice(self, x: str) -> list[str]:
        """Two names for a value, each of which one layer may use."""
        return self.add("Split", [x], outputs=2)

    def convolution(self, conv: nn.Conv2d, x: str, rectified: bool = False) -> str:
        weight, bias = conv.weight.detach().contiguous(), conv.bias
        assert bias is not None  # of the batch norm that was folded into it
        self.weights += bytes(4) + weight.numpy().tobytes() + bias.detach().numpy().tobytes()
        shape = f"0={conv.out_channels} 1={conv.kernel_size[0]} 3={conv.stride[0]} 4={conv.padding[0]}"
        return self.add("Convolution", [x], f"{shape} 5=1 6={weight.numel()} 9={int(rectified)}")[0]

    def basic_block(self, block: BasicBlock, x: str) -> str:
        x, y = self.twice(x)
        y = self.convolution(block.conv1, y, rectified=True)
        y = self.convolution(block.conv2, y)
        for layer in block.downsample.children():  # none where the shortcut changes nothing
            x = self.convolution(layer, x) if isinstance(layer, nn.Conv2d) else x
        (total,) = self.add("BinaryOp", [y, x], "0=0")
        return self.add("ReLU", [total])[0]
