"""Pictures of every mode, and folders of them."""

import io

import numpy as np
import pytest
from PIL import Image

from minires.data.dataset import DatasetError
from minires.data.folders import read_image_folder
from minires.data.images import Preprocessing, open_image

RED = (200, 30, 40)


def file_of(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


class TestOpenImage:
    @pytest.mark.parametrize(
        ("mode", "color", "expected"),
        [
            ("RGB", RED, RED),
            ("L", 77, (77, 77, 77)),
            ("1", 1, (255, 255, 255)),
            ("LA", (77, 255), (77, 77, 77)),
            ("LA", (0, 0), (255, 255, 255)),
            ("RGBA", (*RED, 255), RED),
            ("RGBA", (*RED, 0), (255, 255, 255)),
            ("I;16", 0x1234, (0x12, 0x12, 0x12)),
        ],
    )
    def test_modes(self, mode, color, expected):
        image = open_image(file_of(Image.new(mode, (5, 4), color)))
        assert (image.mode, image.size, image.getpixel((2, 2))) == ("RGB", (5, 4), expected)

    def test_half_transparent(self):
        image = open_image(file_of(Image.new("RGBA", (3, 3), (200, 0, 0, 51))))  # a fifth of it over white
        np.testing.assert_allclose(image.getpixel((1, 1)), (244, 204, 204), atol=1)

    def test_palette_with_a_transparent_color(self):
        image = Image.new("P", (4, 1))
        image.putpalette([*RED, 0, 255, 0])
        image.putpixel((1, 0), 1)
        read = open_image(file_of(image, transparency=1))
        assert [read.getpixel((x, 0)) for x in (0, 1)] == [RED, (255, 255, 255)]

    def test_cmyk(self):
        ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
        red, green, blue = open_image(file_of(ink, "JPEG", quality=95)).getpixel((8, 8))
        assert red > 230
        assert max(green, blue) < 60

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, orientation):
        """The eight ways to hold a camera: how the file's pixels were turned, by the EXIF standard's table."""
        upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
        stored = {
            1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
            5: upright.T, 6: np.rot90(upright), 7: upright[::-1, ::-1].T, 8: np.rot90(upright, -1),
        }[orientation]  # fmt: skip
        image = Image.fromarray(np.ascontiguousarray(stored))
        exif = image.getexif()
        exif[0x0112] = orientation
        read = np.asarray(open_image(file_of(image, exif=exif)))[:, :, 0]
        np.testing.assert_array_equal(read, upright)

    @pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "BMP", "PPM"])
    def test_kinds_of_files(self, kind):
        read = open_image(file_of(Image.new("RGB", (16, 8), RED), kind))
        assert read.size == (16, 8)
        np.testing.assert_allclose(read.getpixel((4, 4)), RED, atol=12)

    @pytest.mark.parametrize(
        "damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"hello", lambda b: b[:20]]
    )
    def test_broken(self, tmp_path, damage):
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
        (tmp_path / "a.png").write_bytes(damage(file_of(noise).getvalue()))
        with pytest.raises(DatasetError, match=r"a\.png: .*(is not a picture|damaged).*use another file"):
            open_image(tmp_path / "a.png")

    def test_missing(self, tmp_path):
        with pytest.raises(DatasetError, match=r"none.png: no such file"):
            open_image(tmp_path / "none.png")

    def test_too_large(self, tmp_path):
        """A file of a few hundred bytes that claims 30,000 by 30,000 pixels."""
        content = bytearray(file_of(Image.new("1", (8, 8))).getvalue())
        content[16:24] = (30_000).to_bytes(4, "big") * 2
        import zlib

        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DatasetError, match=r"a\.png"):
            open_image(tmp_path / "a.png")


class TestPreprocessing:
    @pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (64, 64), (31, 500), (225, 224)])
    def test_scales_the_shorter_side_and_cuts_the_middle_out(self, width, height):
        """A ramp from left to right and one from top to bottom: the middle keeps its values, whatever the size."""
        rows, columns = np.mgrid[:height, :width]
        picture = np.stack([255 * columns / (width - 1), 255 * rows / (height - 1), 0 * rows], axis=-1)
        image = Image.fromarray(np.round(picture).astype(np.uint8))
        pixels = Preprocessing((0.5,) * 3, (0.5,) * 3, size=56, resize=64).pixels(image)
        assert (pixels.shape, pixels.dtype) == ((56, 56, 3), np.uint8)
        scale = 64 / min(width, height)
        for channel, side in ((0, width), (1, height)):
            line = pixels[28, :, 0] if channel == 0 else pixels[:, 28, 1]
            expected = 127.5 + (np.arange(56) - 27.5) / scale * 255 / side
            np.testing.assert_allclose(line, expected, atol=4.5)

    def test_of_torchvision_is_the_resize_of_pillow(self):
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 75, 3), np.uint8))
        pixels = Preprocessing((0.5,) * 3, (0.5,) * 3, size=32, resize=32).pixels(image)
        expected = np.asarray(image.resize((48, 32), Image.Resampling.BILINEAR))[:, 8:40]
        np.testing.assert_array_equal(pixels, expected)

    def test_without_resize_both_sides_are_scaled(self):
        image = Image.new("RGB", (100, 20), RED)
        pixels = Preprocessing((0.5,) * 3, (0.5,) * 3, "BGR", 24, None).pixels(image)
        assert pixels.shape == (24, 24, 3)
        assert tuple(pixels[0, 0]) == RED[::-1]

    @pytest.mark.parametrize(
        "wrong",
        [{"order": "GBR"}, {"size": 0}, {"size": 300}, {"std": (0, 1, 1)}, {"mean": (1, 2)}, {"interpolation": "best"}],
    )
    def test_wrong_values(self, wrong):
        with pytest.raises(ValueError, match="Preprocessing: "):
            Preprocessing(**{"mean": (0.5,) * 3, "std": (0.5,) * 3, **wrong})


class TestImageFolder:
    PLAIN = Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8)

    def folder(self, path, counts=(6, 10), kind="PNG", blue=0):
        for label, count in enumerate(counts):
            (path / f"class-{label}").mkdir(parents=True)
            for index in range(count):
                color = (100 * label, index, blue)
                Image.new("RGB", (9 + index, 12), color).save(path / f"class-{label}" / f"{index:02d}.{kind.lower()}")
        return path

    def test_every_picture_is_in_one_part_with_its_label(self, tmp_path):
        dataset = read_image_folder(self.folder(tmp_path), self.PLAIN, test_share=0.3)
        assert dataset.classes == ("class-0", "class-1")
        assert dataset.train_images.shape == (11, 8, 8, 3)
        assert dataset.test_images.shape == (5, 8, 8, 3)
        seen = []
        for images, labels in (
            (dataset.train_images, dataset.train_labels),
            (dataset.test_images, dataset.test_labels),
        ):
            assert set(labels) == {0, 1}
            for image, label in zip(images, labels, strict=True):
                assert image[0, 0, 0] == 100 * label
                seen.append((label, image[0, 0, 1]))
        assert sorted(seen) == [(0, index) for index in range(6)] + [(1, index) for index in range(10)]

    def test_a_test_folder(self, tmp_path):
        folder, other = self.folder(tmp_path / "a"), self.folder(tmp_path / "b", (3, 4), blue=9)
        dataset = read_image_folder(folder, self.PLAIN, other)
        assert (len(dataset.train_images), sorted(dataset.test_labels)) == (16, [0, 0, 0, 1, 1, 1, 1])
        (other / "more").mkdir()
        with pytest.raises(DatasetError, match=r"b: its sub-folders are not those of .*a: give them the same names"):
            read_image_folder(folder, self.PLAIN, other)

    def test_the_seed_draws_the_parts(self, tmp_path):
        folder = self.folder(tmp_path)
        first, again, other = (read_image_folder(folder, self.PLAIN, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first.train_images, again.train_images)
        assert first.train_images.tobytes() != other.train_images.tobytes()

    def test_broken_files_are_listed_and_left_out_only_if_asked(self, tmp_path):
        folder, told = self.folder(tmp_path), []
        (folder / "class-0" / "notes.png").write_text("hello")
        (folder / "class-1" / "zz.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        (folder / "class-1" / ".DS_Store").write_bytes(b"none of ours")
        with pytest.raises(DatasetError, match=r"2 broken files, listed above: mend them or give skip_broken=True"):
            read_image_folder(folder, self.PLAIN, tell=told.append)
        assert [
            "1 hidden" in told[0] and ".DS_Store" in told[0],
            "notes.png" in told[1],
            "zz.png" in told[2],
            len(told),
        ] == [True, True, True, 3]
        told.clear()
        dataset = read_image_folder(folder, self.PLAIN, skip_broken=True, tell=told.append)
        assert len(dataset.train_images) + len(dataset.test_images) == 16
        assert len([line for line in told if line.startswith("broken: ")]) == 2

    @pytest.mark.parametrize(
        ("counts", "match"),
        [((5,), r"1 sub-folders, at least 2 are needed"), ((5, 1), r"class-1: 1 pictures, at least 2 are needed")],
    )
    def test_too_little(self, tmp_path, counts, match):
        with pytest.raises(DatasetError, match=match):
            read_image_folder(self.folder(tmp_path, counts), self.PLAIN)

    def test_no_folder(self, tmp_path):
        with pytest.raises(DatasetError, match="no such folder"):
            read_image_folder(tmp_path / "none", self.PLAIN)


def test_a_line_is_scaled_no_further_than_it_is_used(tmp_path):
    """Scaled whole, 20,000x1 pixels would be 5 million x 256."""
    colours = np.repeat(np.arange(20_000) // 100 % 256, 3).astype(np.uint8).reshape(1, 20_000, 3)
    Image.fromarray(colours).save(tmp_path / "line.png")
    pixels = Preprocessing((0.5,) * 3, (0.5,) * 3).pixels(open_image(tmp_path / "line.png"))
    assert pixels.shape == (224, 224, 3)
    assert abs(int(pixels.mean()) - 100) <= 1  # the middle: 10,000 // 100


def test_what_is_said_of_a_folder(tmp_path):
    with pytest.raises(DatasetError, match="is a folder: name the pictures in it"):
        open_image(tmp_path)
