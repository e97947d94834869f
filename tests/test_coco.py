"""read_coco: what it makes of pictures and boxes, and its errors, one sentence each."""

import json

import numpy as np
import pytest
from PIL import Image

from minires.data.dataset import DatasetError
from minires.detection.coco import read_coco


def entries(**more):
    """A file of two pictures, three boxes and two categories, whose ids are in no order."""
    return {
        "images": [{"id": 9, "file_name": "wide.png"}, {"id": 2, "file_name": "tall.jpg", "width": 20, "height": 40}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 7, "bbox": [0, 0, 40, 10]},
            {"id": 2, "image_id": 2, "category_id": 3, "bbox": [5, 10, 10, 20.5]},
            {"id": 5, "image_id": 9, "category_id": 3, "bbox": [70, 20, 10.5, 20]},
        ],
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(np.full((40, 80, 3), 200, np.uint8)).save(tmp_path / "wide.png")
    Image.fromarray(np.full((40, 20, 3), 90, np.uint8)).save(tmp_path / "tall.jpg")
    return tmp_path


def read(folder, content=None, **options):
    text = content if isinstance(content, str) else json.dumps(content or entries())
    (folder / "boxes.json").write_text(text)
    return read_coco(folder / "boxes.json", folder, **options)


def test_pictures_of_any_size_are_scaled_and_their_boxes_with_them(folder):
    boxed = read(folder, size=32)
    assert boxed.classes == ("cat", "dog")  # in the order of their ids
    assert boxed.images.shape == (2, 32, 32, 3) and boxed.images.dtype == np.uint8
    assert abs(boxed.images.astype(int) - np.array([200, 90]).reshape(2, 1, 1, 1)).max() <= 2
    # 80x40 -> 32x32: x by 0.4, y by 0.8; the box that reaches half a pixel beyond the edge is cut off there
    np.testing.assert_allclose(boxed.boxes[0], [[0, 0, 16, 8, 1], [28, 16, 32, 32, 0]])
    np.testing.assert_allclose(boxed.boxes[1], [[8, 8, 24, 24.4, 0]])
    assert boxed.boxes[0].dtype == np.float32


def test_an_image_and_a_category_may_have_no_boxes(folder):
    content = entries(annotations=entries()["annotations"][:1])
    boxed = read(folder, content)
    assert [len(boxes) for boxes in boxed.boxes] == [1, 0] and boxed.classes == ("cat", "dog")
    assert boxed.boxes[1].shape == (0, 5)


def test_crowds_are_left_out_and_told(folder):
    content = entries()
    content["annotations"][1]["iscrowd"] = 1
    told = []
    boxed = read(folder, content, tell=told.append)
    assert [len(boxes) for boxes in boxed.boxes] == [2, 0]
    assert told == ["left out: 1 annotations of crowds (iscrowd 1), whose boxes are around many objects"]


def changed(what, number, **changes):
    content = entries()
    content[what][number] |= changes
    return content


NAN = json.dumps(changed("annotations", 0, bbox=[0, 0, float("nan"), 4]))
BROKEN = {
    "a picture that is missing": (
        changed("images", 0, file_name="none.png"),
        r"image 9: .*none\.png: no such file: name a picture",
    ),
    "a picture that is damaged": (changed("images", 0, file_name="boxes.json"), r"image 9: .*boxes\.json: "),
    "a name that leaves the folder": (
        changed("images", 0, file_name="../wide.png"),
        r"image 9: file_name is '\.\./wide\.png': name a file in the folder of images",
    ),
    "a picture of another size": (
        changed("images", 1, width=40, height=20),
        r"image 2: width and height are 40 and 20, tall\.jpg has 20 and 40: give the picture that the boxes",
    ),
    "an unknown image": (
        changed("annotations", 0, image_id=4),
        r"annotation 1: image_id is 4, and no image has this id",
    ),
    "an image that is no number": (changed("annotations", 0, image_id=[9]), "annotation 1: image_id is <list>"),
    "an unknown category": (
        changed("annotations", 1, category_id=8),
        r"annotation 2: category_id is 8, the categories are 3, 7: mend it",
    ),
    "a box of three numbers": (
        changed("annotations", 0, bbox=[1, 2, 3]),
        r"annotation 1: bbox is \[1, 2, 3\]: give four finite numbers",
    ),
    "a box of words": (changed("annotations", 0, bbox="0 0 3 4"), "annotation 1: bbox is '0 0 3 4': give four finite"),
    "no box": (changed("annotations", 0, bbox=None), "annotation 1: bbox is None: give four finite numbers"),
    "NaN": (NAN, r"annotation 1: bbox is \[0, 0, nan, 4\]: give four finite numbers"),
    "an empty box": (
        changed("annotations", 2, bbox=[1, 2, 0, 5]),
        r"annotation 5: its box is empty, width 0 and height 5: give both above 0",
    ),
    "a box beyond the edge": (
        changed("annotations", 2, bbox=[70, 20, 15, 20]),
        r"annotation 5: its box goes from 70, 20 to 85, 40, beyond its image of 80x40 pixels: keep it inside",
    ),
    "a box outside": (
        changed("annotations", 2, bbox=[80, 20, 0.5, 20]),
        r"annotation 5: nothing of its box lies in the image of 80x40 pixels: keep it inside",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named_or_left_out(folder, name):
    content, message = BROKEN[name]
    with pytest.raises(DatasetError, match=rf"^.*boxes\.json: {message}") as caught:
        read(folder, content)
    assert "\n" not in str(caught.value) and "Traceback" not in str(caught.value)
    assert str(caught.value).endswith(", or leave what is broken out with skip_broken")
    told = []
    boxed = read(folder, content, skip_broken=True, tell=told.append)
    assert sum(map(len, boxed.boxes)) in (1, 2)
    assert len(told) == 1 and told[0].startswith("left out: 1 annotation or image that is broken; the first: ")
    assert len(boxed.images) == len(boxed.boxes)


def test_several_that_are_broken_are_counted(folder):
    content = changed("annotations", 0, bbox=[0, 0, -1, 4])
    content["annotations"][2]["category_id"] = 100
    told = []
    boxed = read(folder, content, skip_broken=True, tell=told.append)
    assert sum(map(len, boxed.boxes)) == 1
    assert told[0].startswith("left out: 2 annotations and images that are broken; the first: ")


HOPELESS = {
    "nothing": ("", r"no annotations as COCO has them \(Expecting value"),
    "half a file": (json.dumps(entries())[:-9], r"no annotations as COCO has them \(Expecting"),
    "a list": ("[1, 2]", r"no annotations as COCO has them \(the file is <list>\)"),
    "an empty dictionary": ("{}", r"no annotations as COCO has them \(the file lacks 'images'\)"),
    "a key that stands twice": (
        '{"images": [], "images": []}',
        r"no annotations .*\(two values are called images",
    ),
    "no images": (entries(images=[]), "its list of images is empty: there is nothing to learn from"),
    "no categories": (entries(categories=[]), "its list of categories is empty"),
    "no annotations": (entries(annotations=[]), "no image has a box that can be used: give some"),
    "images that are words": (entries(images=["a.jpg"]), r"no annotations .*the file\.images\[0\] is 'a\.jpg'"),
    "two images of an id": (changed("images", 1, id=9), "two images have the id 9: give each an id of its own"),
    "two annotations of an id": (changed("annotations", 1, id=1), "two annotations have the id 1"),
    "two categories of an id": (changed("categories", 1, id=7), "two categories have the id 7"),
    "two categories of a name": (changed("categories", 1, name="dog"), "two categories are called 'dog'"),
    "an image without a name": (
        entries(images=[{"id": 1}]),
        "image number 1: image lacks 'file_name': mend it",
    ),
    "an id that is a word": (changed("annotations", 0, id="first"), "annotation number 1: annotation.id is 'first'"),
}


@pytest.mark.parametrize("name", HOPELESS)
@pytest.mark.parametrize("skip_broken", [False, True])
def test_a_file_that_means_nothing(folder, name, skip_broken):
    content, message = HOPELESS[name]
    with pytest.raises(DatasetError, match=rf"^.*boxes\.json: {message}") as caught:
        (folder / "boxes.json").write_text(content if isinstance(content, str) else json.dumps(content))
        read_coco(folder / "boxes.json", folder, skip_broken=skip_broken)
    assert "\n" not in str(caught.value)


def test_everything_broken(folder):
    content = entries(images=[{"id": 9, "file_name": "none.png"}, {"id": 2, "file_name": "neither.png"}])
    with pytest.raises(DatasetError, match=r"boxes\.json: no image has a box that can be used: give some$"):
        read(folder, content, skip_broken=True)


def test_no_file(folder):
    with pytest.raises(DatasetError, match=r"none\.json: no such file: name a JSON file of annotations"):
        read_coco(folder / "none.json", folder)
    with pytest.raises(DatasetError, match=r": is a folder: name the JSON file of annotations in it"):
        read_coco(folder, folder)
    (folder / "boxes.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DatasetError, match=r"boxes\.json: "):
        read_coco(folder / "boxes.json", folder)
