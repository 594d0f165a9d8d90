"""descriptors: the batch function around a network, and the card before it is given one."""

from __future__ import annotations

import pytest

from curation import records
from curation.stages import descriptors
from curation.stages.descriptors import STAGE, DescriptorsConfig, describe
from tests.curation.test_encode import RED, MeanColour, batch


def test_a_batch_is_described():
    table = describe(batch(RED, b""), MeanColour(), DescriptorsConfig())
    assert table.schema == records.descriptors(6)
    assert table["drop_reason"].to_pylist() == [None, "empty_file"]


def test_the_card_asks_for_bytes_of_clean_images_and_has_no_network_of_its_own():
    assert (STAGE.name, STAGE.consumes, STAGE.needs_bytes) == ("descriptors", ("sanitized",), True)
    assert STAGE.weights(DescriptorsConfig()) == ""
    with pytest.raises(ValueError, match="network"):
        descriptors.STAGE.setup(DescriptorsConfig(), {})
