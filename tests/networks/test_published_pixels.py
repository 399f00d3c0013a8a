"""Pixels as each model's published transform prepares them: by hand with Pillow, and by transformers' processors."""

import importlib
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bundle.core import SettingError
from bundle.networks import PatchTokenizer, registry

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
OPTIMUS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
LUNIT = ((0.70322989, 0.53606487, 0.66096631), (0.21716536, 0.26081574, 0.20723464))
HIBOU = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
PATHFM = ((0.697, 0.575, 0.728), (0.188, 0.240, 0.187))
REGISTRY = registry()
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


class Transform(NamedTuple):
    """Scaled so that the shorter side has ``resize`` px by ``resample``, the middle cut, over 255, normalized.

    ``resample`` None: it is not known how patches are scaled, so that they have to come in their size.
    """

    resize: int
    crop: int
    resample: Image.Resampling | None
    numbers: tuple[tuple[float, ...], tuple[float, ...]]


PLAIN = Transform(224, 224, BILINEAR, IMAGENET)  # torchvision's Resize(224), without a word of its filter
# As the models' cards, configs and code have them; what each is taken from stands in bundle/networks/encoders.yaml.
PUBLISHED = {
    "hipt": Transform(256, 256, None, IMAGENET),
    **{f"dinov2-{kind}": Transform(256, 224, BICUBIC, IMAGENET) for kind in ("s", "b", "s-registers", "b-registers")},
    "uni": PLAIN,
    "uni2-h": PLAIN,
    "prov-gigapath": Transform(256, 224, BICUBIC, IMAGENET),
    "virchow": Transform(224, 224, BICUBIC, IMAGENET),
    "virchow2": Transform(224, 224, BICUBIC, IMAGENET),
    "h-optimus-0": Transform(224, 224, BILINEAR, OPTIMUS),
    "h-optimus-1": Transform(224, 224, BILINEAR, OPTIMUS),
    "h0-mini": Transform(224, 224, None, OPTIMUS),
    "phikon": PLAIN,
    "phikon-v2": Transform(224, 224, None, IMAGENET),
    "lunit-vits8": Transform(224, 224, None, LUNIT),
    "lunit-vits16": Transform(224, 224, None, LUNIT),
    "hibou-l": Transform(224, 224, BICUBIC, HIBOU),
    "hibou-b": Transform(224, 224, BICUBIC, HIBOU),
    "midnight": Transform(224, 224, BILINEAR, HALF),
    "openmidnight": PLAIN,
    "gpfm": Transform(224, 224, BICUBIC, IMAGENET),
    "genbio-pathfm": Transform(224, 224, BILINEAR, PATHFM),
    "musk": Transform(384, 384, BICUBIC, HALF),
    "keep": Transform(224, 224, BICUBIC, IMAGENET),
    **{f"kaiko-{size}": Transform(224, 224, BILINEAR, HALF) for size in ("s8", "s16", "b8", "b16", "l14")},
    "ctranspath": PLAIN,
    "resnet50-imagenet": PLAIN,
}


def patch(side):
    """A patch with edges and noise, uint8 [3, side, side]."""
    random = np.random.default_rng(side)
    values = random.integers(0, 256, (3, side, side), dtype=np.uint8)
    values[:, : side // 3] = 240
    return torch.from_numpy(values)


def ours(name, pixels):
    """What the network of that name sees, [3, p, p]."""
    contract = REGISTRY[name]
    found = PatchTokenizer(nn.Flatten(), 3, contract=contract)(pixels[None])
    return found.reshape(3, contract.input_px, contract.input_px)


def sides(transform):
    """Sizes of patches that are tried; where the scaling is not known only the one that is not scaled."""
    return (transform.resize,) if transform.resample is None else (256, 300)


def test_every_transform_is_compared():
    """All models whose mean and sd are known are here."""
    assert set(PUBLISHED) == {name for name, contract in REGISTRY.items() if contract.mean is not None}


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_the_published_transform_by_hand(name):
    """Scaled by Pillow, cut, over 255, minus the mean, over the sd, in double precision: equal to 1e-5."""
    resize, crop, resample, (mean, std) = PUBLISHED[name]
    for side in sides(PUBLISHED[name]):
        picture = Image.fromarray(patch(side).permute(1, 2, 0).numpy())
        picture = picture if side == resize else picture.resize((resize, resize), resample)
        first = (resize - crop) // 2
        pixels = np.asarray(picture)[first : first + crop, first : first + crop].transpose(2, 0, 1) / 255
        expected = (pixels - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]
        torch.testing.assert_close(ours(name, patch(side)).double(), torch.from_numpy(expected), atol=1e-5, rtol=0)
    if resample is None:
        with pytest.raises(SettingError, match="nobody has said how it scales"):
            ours(name, patch(320))


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_a_processor_of_transformers(name):
    """What transformers' processor of the published values gives; it skips where transformers is not installed."""
    try:
        processor = importlib.import_module("transformers").BitImageProcessorPil
    except (ImportError, AttributeError) as error:
        pytest.skip(f"no transformers to compare with ({type(error).__name__}: {error})")
    resize, crop, resample, (mean, std) = PUBLISHED[name]
    made = processor(
        size={"shortest_edge": resize},
        crop_size={"height": crop, "width": crop},
        resample=BILINEAR if resample is None else resample,
        image_mean=list(mean),
        image_std=list(std),
    )
    for side in sides(PUBLISHED[name]):
        picture = Image.fromarray(patch(side).permute(1, 2, 0).numpy())
        expected = torch.as_tensor(made(picture, return_tensors="pt")["pixel_values"][0])
        torch.testing.assert_close(ours(name, patch(side)), expected, atol=1e-5, rtol=0)
