"""embeddings: the batch function around a network, and the card before it is given one."""

from __future__ import annotations

import pytest

from curation import records
from curation.stages import embeddings
from curation.stages.embeddings import STAGE, EmbeddingsConfig, embed
from tests.curation.test_encode import RED, MeanColour, batch


def test_a_batch_is_embedded():
    table = embed(batch(RED, b""), MeanColour(), EmbeddingsConfig())
    assert table.schema == records.embeddings(6)
    assert table["drop_reason"].to_pylist() == [None, "empty_file"]


def test_the_card_asks_for_bytes_of_clean_images_and_has_no_network_of_its_own():
    assert (STAGE.name, STAGE.consumes, STAGE.needs_bytes) == ("embeddings", ("survivors", "sanitized"), True)
    assert STAGE.weights(EmbeddingsConfig()) == ""
    with pytest.raises(ValueError, match="network"):
        embeddings.STAGE.setup(EmbeddingsConfig(), {})
