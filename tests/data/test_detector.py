import json

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import save
from tests.torch_peer import import_timm
from vitjax.data import detector
from vitjax.data.detector import as_detect, mask_rcnn, union_mask, write_masks
from vitjax.data.open import open_data
from vitjax.errors import ConfigError, ImageError, WeightsError


def left_half(pixels):
    """A detector with one instance of high score on the left and one of low score on the right."""
    height, width = pixels.shape[:2]
    masks = np.zeros((2, height, width), np.float32)
    masks[0, :, : width // 2] = 0.9
    masks[1, :, width // 2 :] = 0.9
    return np.array([0.8, 0.3], np.float32), masks


def test_union_contains_only_instances_above_the_score():
    masks = np.zeros((3, 4, 4), np.float32)
    masks[0, 0], masks[1, 1], masks[2, 2] = 0.51, 0.5, 0.9
    expected = np.zeros((4, 4), np.uint8)
    expected[0] = 255
    np.testing.assert_array_equal(union_mask(np.array([0.9, 0.9, 0.5]), masks, 0.5), expected)
    assert not union_mask(np.zeros(0), np.zeros((0, 4, 4)), 0.5).any()


def test_masks_are_written_once_and_read_by_a_source(tmp_path, capsys):
    save(tmp_path / "photos" / "images" / "a.jpg")
    save(tmp_path / "photos" / "images" / "b.png")
    (tmp_path / "photos" / "images" / "c.jpg").write_bytes(b"<html>")
    out = tmp_path / "masks"
    assert write_masks(tmp_path / "photos", out, left_half) == (2, 1)
    assert "skipped: " in (error := capsys.readouterr().err)
    assert "c.jpg: an HTML" in error
    assert {path.name for path in out.iterdir()} == {"a.png", "b.png", "detector.json"}
    mask = np.asarray(Image.open(out / "a.png"))
    assert (mask[:, :30] == 255).all()
    assert not mask[:, 30:].any()

    calls = []
    (out / "b.png").unlink()
    assert write_masks(tmp_path / "photos", out, lambda pixels: calls.append(1) or left_half(pixels)) == (2, 1)
    assert len(calls) == 1
    source = open_data(f"folder:{tmp_path / 'photos'}", None, num_classes=None, masks=out)
    assert [source.read(index).mask is not None for index in range(3)] == [True, True, False]


def test_masks_inside_the_folder_are_not_read_as_images(tmp_path):
    save(tmp_path / "0" / "a.png")
    save(tmp_path / "1" / "a.png")
    for _ in range(2):
        assert write_masks(tmp_path, tmp_path / "masks_out", left_half) == (2, 0)
    assert {path.stem for path in (tmp_path / "masks_out").glob("*.png")} == {"0__a", "1__a"}


def test_folder_written_with_other_settings_is_rejected(tmp_path):
    save(tmp_path / "photos" / "a.jpg")
    write_masks(tmp_path / "photos", tmp_path / "out", left_half, settings={"weights": "x"})
    assert json.loads((tmp_path / "out" / "detector.json").read_text())["score"] == 0.5
    with pytest.raises(ConfigError, match=r"out: its masks were written with score=0\.5, not 0\.7"):
        write_masks(tmp_path / "photos", tmp_path / "out", left_half, score=0.7, settings={"weights": "x"})
    with pytest.raises(ConfigError, match=r"weights=x, not y"):
        write_masks(tmp_path / "photos", tmp_path / "out", left_half, settings={"weights": "y"})
    with pytest.raises(ConfigError, match="score must lie in"):
        write_masks(tmp_path / "photos", tmp_path / "out", left_half, score=2)
    with pytest.raises(ImageError, match="no such folder"):
        write_masks(tmp_path / "nowhere", tmp_path / "out2", left_half)


def test_command_line_output_and_error(tmp_path, monkeypatch, capsys):
    save(tmp_path / "photos" / "a.jpg")
    monkeypatch.setattr(detector, "mask_rcnn", lambda weights, device: left_half)
    detector._command_line([str(tmp_path / "photos"), "-o", str(tmp_path / "out")])
    assert capsys.readouterr().out == f"{tmp_path / 'out'}  1 masks, 0 images skipped\n"
    with pytest.raises(SystemExit) as raised:
        detector._command_line([str(tmp_path / "nowhere"), "-o", str(tmp_path / "out")])
    assert raised.value.code == 1
    assert "nowhere: no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_real_architecture_with_random_weights(tmp_path, monkeypatch):
    """torchvision's own model; its C extension may not be available, so `nms` is replaced by a Python version."""
    import_timm()
    torch = pytest.importorskip("torch")
    detection = pytest.importorskip("torchvision.models.detection")
    from torchvision.ops import boxes

    def nms(candidates, scores, threshold):
        kept = []
        for index in scores.argsort(descending=True).tolist()[:20]:
            if all(boxes.box_iou(candidates[[index]], candidates[[other]]).item() <= threshold for other in kept):
                kept.append(index)
        return torch.tensor(kept, dtype=torch.int64)

    monkeypatch.setattr(boxes, "nms", nms)
    monkeypatch.setattr(
        boxes, "batched_nms", lambda candidates, scores, _, threshold: nms(candidates, scores, threshold)
    )
    torch.manual_seed(0)
    model = detection.maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        min_size=64,
        max_size=96,
        box_score_thresh=0.0,
        rpn_pre_nms_top_n_test=5,
        rpn_post_nms_top_n_test=5,
        box_detections_per_img=3,
    )
    scores, masks = as_detect(model.eval())(np.zeros((40, 60, 3), np.uint8))
    assert masks.shape == (len(scores), 40, 60)
    assert len(scores) > 0
    assert union_mask(scores, masks, 0.0).shape == (40, 60)

    torch.save(detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict(), tmp_path / "w.pth")
    assert callable(mask_rcnn(tmp_path / "w.pth"))


def test_invalid_weights_are_rejected(tmp_path):
    import_timm()
    with pytest.raises(WeightsError, match=r"w\.pth: no such file"):
        mask_rcnn(tmp_path / "w.pth")
    (tmp_path / "w.pth").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match=r"w\.pth: cannot be loaded into Mask R-CNN"):
        mask_rcnn(tmp_path / "w.pth")
