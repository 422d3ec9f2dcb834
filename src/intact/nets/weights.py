"""Where a backbone's pretrained weights come from.

A name resolves, in this order, to a file in the folder that `INTACT_WEIGHTS` names, to the copy
shipped in the package, to the Hugging Face hub through `huggingface_hub` where that is installed.
Only safetensors are read: they hold numbers, and cannot run code.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import safetensors.torch
from torch import Tensor

from intact.errors import WeightsError
from intact.nets.clip_files import clip_folder

# The hub's copies of torchvision's first ImageNet weights, under torchvision's key names, and of
# DINOv2's, under timm's.
HUB = {
    "resnet18": "timm/resnet18.tv_in1k",
    "resnet50": "timm/resnet50.tv_in1k",
    "wide_resnet50_2": "timm/wide_resnet50_2.tv_in1k",
    "dinov2_vits14": "timm/vit_small_patch14_dinov2.lvd142m",
    "dinov2_vitb14": "timm/vit_base_patch14_dinov2.lvd142m",
    "dinov2_vitl14": "timm/vit_large_patch14_dinov2.lvd142m",
    "dinov2_vits14_reg4": "timm/vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitb14_reg4": "timm/vit_base_patch14_reg4_dinov2.lvd142m",
    "dinov2_vitl14_reg4": "timm/vit_large_patch14_reg4_dinov2.lvd142m",
}
SHIPPED = Path(__file__).with_name("pretrained")


def find_weights(name: str) -> Path:
    """The safetensors file that holds the weights of backbone `name`; that of a CLIP lies in its own folder.

    Raises:
        WeightsError: None of the three places has it.
    """
    given = os.environ.get("INTACT_WEIGHTS")
    if "clip" in name.lower() or (given and Path(given, name).is_dir()):
        return clip_folder(name) / "model.safetensors"
    for folder in (Path(given) if given else None, SHIPPED):
        # resnet18.safetensors, resnet18_conv1_to_layer3_f16.safetensors, ...
        found = sorted(folder.glob(f"{name}[._]*safetensors")) if folder else []
        # dinov2_vits14_reg4.safetensors begins like dinov2_vits14.safetensors, but is another network.
        longer = tuple(other for other in HUB if other.startswith(f"{name}_"))
        found = [file for file in found if not file.name.startswith(longer)]
        if found:
            return found[0]
    if name in HUB and importlib.util.find_spec("huggingface_hub"):
        return _from_hub(name)
    transformer = name.startswith("dinov2")
    keys = "DINOv2's" if transformer else "torchvision's"
    shipped = "a method that can do with the backbone" if transformer else "the backbone"
    example = "--method patchcore --set" if transformer else "--set"
    raise WeightsError(
        f"no weights for the backbone {name!r}: INTACT_WEIGHTS is "
        f"{given or 'not set'}, the package does not ship them, and huggingface_hub is not installed. "
        f"(1) Put {name}.safetensors ({keys} key names) into a folder and set "
        "INTACT_WEIGHTS to it; (2) or `pip install huggingface_hub` on a machine with a network; "
        f"(3) or use {shipped} that is shipped: {example} backbone=narrow_resnet18"
    )


def load_weights(name: str) -> dict[str, Tensor]:
    """The weights of backbone `name` as float32 tensors, keyed as in torchvision, or in DINOv2 or timm."""
    return {k: v.float() for k, v in safetensors.torch.load_file(find_weights(name)).items()}


def _from_hub(name: str) -> Path:
    import huggingface_hub

    try:
        return Path(huggingface_hub.hf_hub_download(HUB[name], "model.safetensors"))
    except (OSError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise WeightsError(
            f"the hub did not give the weights of {name!r} ({error.__class__.__name__}); copy "
            f"model.safetensors of {HUB[name]} to {name}.safetensors and set INTACT_WEIGHTS to its "
            "folder"
        ) from error
