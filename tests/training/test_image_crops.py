"""Image crops of stage one: each step against a slow restatement, and what keys them."""

import math

import pytest
import torch
import torch.nn.functional as F
from monai.transforms import Compose

from bundle.training import RandImageCropsd
from bundle.training.transforms.color import apply_color, gray_matrix, jitter_matrices
from bundle.training.transforms.image_crops import RandImageCrops, draw_boxes
from bundle.training.transforms.resample import apply_separable, blur, resize_matrix

PLAIN = {"flip_prob": 0.0, "jitter_prob": 0.0, "gray_prob": 0.0, "blur_prob": (0, 0, 0), "solarize_prob": (0, 0, 0)}
SMALL = {"global_size": 28, "local_size": 12, "n_local": 2}
UNIT = {"mean": (0, 0, 0), "std": (1, 1, 1)}


@pytest.fixture
def images():
    """Four smooth images of 40 px."""
    torch.manual_seed(0)
    smooth = F.interpolate(torch.rand(4, 3, 6, 6), size=(40, 40), mode="bicubic").clamp(0, 1)
    return (smooth * 255).byte()


@pytest.mark.parametrize("size", [5, 17, 30])
def test_resizing_equals_interpolate_with_antialias(size):
    """The two matrices do what ``interpolate(antialias=True)`` does on each cut-out, flips included."""
    image = torch.rand(3, 3, 20, 24)
    top, height = torch.tensor([0.0, 4, 7]), torch.tensor([20.0, 9, 13])
    left, width = torch.tensor([2.0, 0, 10]), torch.tensor([7.0, 24, 14])
    flips = torch.tensor([False, True, False])
    rows, columns = resize_matrix(top, height, 20, size), resize_matrix(left, width, 24, size, flips)
    got = apply_separable(image, rows, columns)
    for b in range(3):
        t, h, x, w = int(top[b]), int(height[b]), int(left[b]), int(width[b])
        cut = image[b : b + 1, :, t : t + h, x : x + w]
        expected = F.interpolate(cut, size=(size, size), mode="bilinear", antialias=True)[0]
        torch.testing.assert_close(got[b], expected.flip(-1) if flips[b] else expected, atol=1e-5, rtol=1e-5)


def test_blur_equals_a_convolution():
    """Each sample is convolved with the outer product of its own truncated Gaussian, edges repeated."""
    image, sigma = torch.rand(2, 3, 9, 11), torch.tensor([0.4, 1.7])
    got = blur(image, sigma, 6)
    for b in range(2):
        line = torch.tensor([math.exp(-(k**2) / 2 / float(sigma[b]) ** 2) for k in range(-6, 7)])
        kernel = torch.outer(line, line) / line.sum() ** 2
        padded = F.pad(image[b : b + 1], (6, 6, 6, 6), mode="replicate")
        expected = F.conv2d(padded, kernel.expand(3, 1, 13, 13), groups=3)[0]
        torch.testing.assert_close(got[b], expected, atol=1e-5, rtol=1e-5)


def test_jitter_equals_its_steps():
    """One affine map is brightness, contrast, saturation and hue one after the other, pixel by pixel."""
    image, draws, strengths = torch.rand(2, 3, 4, 5) * 0.2 + 0.4, torch.rand(2, 4), (0.2, 0.2, 0.2, 0.1)
    luma = torch.tensor([0.299, 0.587, 0.114])
    mean = torch.einsum("bchw,c->b", image, luma) / 20
    got = apply_color(image, jitter_matrices(draws, strengths, mean))
    for b in range(2):
        brightness, contrast, saturation = (1 + (2 * draws[b, i] - 1) * strengths[i] for i in range(3))
        x = image[b] * brightness
        x = contrast * x + (1 - contrast) * torch.einsum("chw,c->hw", x, luma).mean()
        gray = torch.einsum("chw,c->hw", x, luma)
        x = saturation * x + (1 - saturation) * gray
        turned = apply_color(
            x[None], jitter_matrices(torch.tensor([[0.5, 0.5, 0.5, draws[b, 3]]]), strengths, mean[:1])
        )
        torch.testing.assert_close(got[b], turned[0], atol=1e-5, rtol=1e-5)


def test_hue_keeps_luma_and_gray_has_none():
    """A hue shift changes colors but not luma; draws of one half change nothing; gray makes channels equal."""
    image = torch.rand(2, 3, 4, 4) * 0.2 + 0.4
    luma = torch.tensor([0.299, 0.587, 0.114])
    mean = torch.full((2,), 0.5)
    turned = apply_color(image, jitter_matrices(torch.tensor([[0.5, 0.5, 0.5, 0.9]] * 2), (0.4, 0.4, 0.2, 0.1), mean))
    assert (turned - image).abs().max() > 0.01
    torch.testing.assert_close(
        torch.einsum("bchw,c->bhw", turned, luma), torch.einsum("bchw,c->bhw", image, luma), atol=1e-3, rtol=1e-3
    )
    same = apply_color(image, jitter_matrices(torch.full((2, 4), 0.5), (0.4, 0.4, 0.2, 0.1), mean))
    torch.testing.assert_close(same, image)
    gray = apply_color(image, gray_matrix(image.device).expand(2, 3, 4))
    torch.testing.assert_close(gray[:, 0], gray[:, 2])


def test_boxes_fit_and_cover_the_scale():
    """Boxes lie inside, areas are uniform over the scale, aspects within 3:4 to 4:3, positions reach both borders."""
    top, left, height, width = draw_boxes(torch.rand(5000, 22), 256, 256, (0.05, 0.4))
    assert (top >= 0).all() and (left >= 0).all()
    assert (top + height).max() == 256 and (left + width).max() == 256 and top.min() == 0
    area, aspect = height * width / 256**2, (width / height).log()
    assert 0.045 < area.min() and area.max() < 0.41 and abs(area.mean() - 0.225) < 0.01
    assert aspect.abs().max() < math.log(4 / 3) + 0.05 and abs(aspect.mean()) < 0.02
    place = top / (256 - height).clamp(min=1)
    assert abs(place.mean() - 0.5) < 0.02


def test_plain_views_are_resized_crops(images):
    """With everything else off and the whole image as the crop, a view is the resized, normalized image."""
    crops = RandImageCrops(**{**SMALL, **PLAIN, "n_local": 0}, global_scale=(1.0, 1.0))
    square = images.clone()
    (views,) = crops(square, torch.arange(4), 0)
    assert views.shape == (2, 4, 3, 28, 28) and views.dtype == torch.float32
    back = views * crops.std + crops.mean
    assert back.min() > -1e-4 and back.max() < 1 + 1e-4
    whole = F.interpolate(images.float() / 255, size=(28, 28), mode="bilinear", antialias=True)
    # aspects other than 1 do not fit a full-size box, so that only the box nearest to the image is left
    assert (back - whole).abs().mean() < 0.1


def test_a_view_depends_on_its_key_alone(images):
    """The same (seed, epoch, id, view) gives the same view whatever else is in the batch; another key another one."""
    crops, ids = RandImageCrops(**SMALL, seed=2), torch.arange(4)
    together = crops(images, ids, 3)
    order = torch.tensor([3, 1])
    for whole, part in zip(together, crops(images[order], ids[order], 3), strict=True):
        torch.testing.assert_close(whole[:, order], part, atol=1e-5, rtol=1e-5)
    for other in (crops(images, ids, 4), crops(images, ids + 9, 3), RandImageCrops(**SMALL, seed=3)(images, ids, 3)):
        assert not torch.allclose(together[0], other[0])


def test_more_samples_than_a_chunk(images):
    """Batches are worked off in pieces on a CPU; the seams do not show."""
    many, ids = images.repeat(18, 1, 1, 1), torch.arange(72)
    crops = RandImageCrops(**SMALL)
    whole, alone = crops(many, ids, 0)[0], crops(many[65:66], ids[65:66], 0)[0]
    torch.testing.assert_close(whole[:, 65:66], alone, atol=1e-5, rtol=1e-5)


def test_shares_of_flips_gray_and_solarization():
    """Each happens as often as asked: told apart on an image that shows it."""
    n, ids = 600, torch.arange(600)
    ramp = torch.linspace(30, 90, 16).byte().expand(n, 3, 16, 16).clone()
    ramp[:, 0] += 40
    settings = {"n_global": 2, "global_size": 8, "n_local": 0, **UNIT}
    (flips,) = RandImageCrops(**{**settings, **PLAIN, "flip_prob": 0.5})(ramp, ids, 0)
    assert abs((flips[..., 0] > flips[..., -1]).float().mean() - 0.5) < 0.03
    (gray,) = RandImageCrops(**{**settings, **PLAIN, "gray_prob": 0.2})(ramp, ids, 0)
    assert abs(((gray[:, :, 0] - gray[:, :, 1]).abs().amax((2, 3)) < 1e-4).float().mean() - 0.2) < 0.04
    bright = torch.full((n, 3, 16, 16), 230, dtype=torch.uint8)
    (solar,) = RandImageCrops(**{**settings, **PLAIN, "solarize_prob": (0, 0.2, 0)})(bright, ids, 0)
    shares = (solar[:, :, 0, 0, 0] < 0.5).float().mean(1)
    assert shares[0] == 0 and abs(shares[1] - 0.2) < 0.05


def test_blur_probability_is_by_kind_of_view():
    """The first global view is always blurred, the second seldom, local ones half of the time."""
    n, ids = 200, torch.arange(200)
    stripes = (torch.arange(24) % 2 * 255).byte().expand(n, 3, 24, 24).contiguous()
    settings = {**PLAIN, **UNIT, "blur_prob": (1.0, 0.1, 0.5), "blur_sigma": (3.0, 3.1)}
    views = RandImageCrops(
        global_size=32, local_size=32, n_local=1, global_scale=(0.2, 0.3), local_scale=(0.2, 0.3), **settings
    )(stripes, ids, 0)
    contrast = [v.amax((2, 3, 4)) - v.amin((2, 3, 4)) for v in views]
    is_soft = [float((c < 0.9).float().mean()) for c in (contrast[0][0], contrast[0][1], contrast[1][0])]
    assert is_soft[0] > 0.95 and abs(is_soft[1] - 0.1) < 0.08 and abs(is_soft[2] - 0.5) < 0.14


def test_device_path_gives_the_same_views(images):
    """Where nothing may wait for the device, unblurred samples pass a Gaussian too narrow to change them."""
    torch.testing.assert_close(blur(images.float(), torch.full((4,), 0.05), 6), images.float())


def test_twin_and_compose(images):
    """The dictionary twin does the same, in a Compose, and is seeded by it."""
    batch = {"image": images, "region_id": torch.arange(4), "epoch": 1}
    twin = RandImageCropsd(keys="image", **SMALL, seed=6)
    expected = RandImageCrops(**SMALL, seed=6)(images, torch.arange(4), 1)
    assert all(torch.equal(a, b) for a, b in zip(twin(batch)["views"], expected, strict=True))
    one, two = (Compose([RandImageCropsd(**SMALL)]).set_random_state(seed=s)(batch)["views"] for s in (1, 2))
    assert not torch.equal(one[0], two[0])


@pytest.mark.parametrize(
    ("options", "match"),
    [({"n_global": 0}, "n_global"), ({"local_scale": (0.5, 0.2)}, "scale"), ({"blur_prob": (1, 1)}, "blur_prob")],
)
def test_impossible_arguments_are_refused(options, match):
    """Wrong numbers of numbers, empty scales and no global view are refused at construction."""
    with pytest.raises(ValueError, match=match):
        RandImageCrops(**options)
