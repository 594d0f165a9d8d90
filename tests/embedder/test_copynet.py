"""The copy network: torchvision's keys and sizes, GeM by hand, unit descriptors."""

import pytest
import torch

from embedder.copynet import VARIANTS, CopyNet, centre, gem


def test_resnet50_has_torchvision_keys_and_size() -> None:
    with torch.device("meta"):
        net = CopyNet("resnet50")
    state = net.state_dict()
    # torchvision's resnet50 has 25,557,032 parameters, of which 2,049,000 in its 1000-class fc; here fc is 2048 -> 512.
    assert sum(p.numel() for p in net.parameters()) == 25_557_032 - 2_049_000 + 2048 * 512 + 512
    assert state["layer1.0.downsample.0.weight"].shape == (256, 64, 1, 1)
    assert state["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert state["fc.weight"].shape == (512, 2048)
    assert len(state) == 320  # as torchvision: 318 of the trunk and fc's two


def test_small_fits_the_package() -> None:
    net = CopyNet("small")
    assert sum(t.numel() for t in net.state_dict().values()) * 2 < 16e6  # bytes in float16
    assert net.dim == VARIANTS["small"].dim == 256


def test_gem_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]])
    assert torch.allclose(gem(x), torch.tensor([[9 ** (1 / 3)]]))  # (1 + 8 + 27 + 0) / 4 = 9
    assert torch.allclose(gem(x, p=1), torch.tensor([[1.5]]))
    assert torch.allclose(gem(torch.full((1, 1, 2, 2), -5.0)), torch.tensor([[1e-6]]), rtol=1e-3)


@pytest.mark.parametrize("side", [64, 96, 160])
def test_descriptors_are_unit_rows_at_any_size(side: int) -> None:
    out = CopyNet("small").eval()(torch.randn(2, 3, side, side))
    assert out.shape == (2, 256)
    assert torch.allclose(out.norm(dim=1), torch.ones(2), atol=1e-5)


def test_trunk_is_a_thirty_second_of_the_side() -> None:
    assert CopyNet("small").eval().trunk(torch.randn(1, 3, 96, 160)).shape == (1, 256, 3, 5)


def test_unknown_variant_is_named() -> None:
    with pytest.raises(ValueError, match="unknown copy network 'huge'"):
        CopyNet("huge")


def test_centre_cuts_and_enlarges() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[:, :, 2:6, 2:6] = 1
    assert centre(image, 1.0) is image
    assert torch.equal(centre(image, 0.5), torch.ones(1, 3, 8, 8))


def test_windows_average_before_the_length_is_taken() -> None:
    torch.manual_seed(0)
    one, two = CopyNet("small").eval(), CopyNet("small", windows=(1.0, 0.75)).eval()
    two.load_state_dict(one.state_dict())
    image = torch.randn(2, 3, 64, 64)
    expected = (one.raw(image) + one.raw(centre(image, 0.75))) / 2
    assert torch.allclose(two.raw(image), expected, atol=1e-5)
