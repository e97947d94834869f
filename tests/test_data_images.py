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
        [
            {"order": "GBR"},
            {"size": 0},
            {"size": 300},
            {"size": True},
            {"size": None},
            {"std": (0, 1, 1)},
            {"std": (1, float("nan"), 1)},
            {"std": (1, 1, float("inf"))},
            {"std": (1, 1, 1e-9)},
            {"mean": (1, 2)},
            {"mean": (0, 0, float("nan"))},
            {"mean": (0, 0, -float("inf"))},
            {"mean": (0, 10**400, 0)},
            {"interpolation": "best"},
        ],
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


class TestDeepPixels:
    """One rule for a set, by the type of its pixels."""

    RAMP = np.linspace(0, 1, 64)[None, :].repeat(8, 0)

    def row(self, path, *value_range):
        """The first row, as bytes."""
        pixels = np.asarray(open_image(path, *value_range))
        assert (pixels[..., 0] == pixels[..., 1]).all() and (pixels == pixels[0]).all()
        return pixels[0, :, 0]

    def save(self, tmp_path, values, name="a.png"):
        if name.endswith(".pgm"):  # which older Pillows read, and do not write
            head = f"P5 {values.shape[1]} {values.shape[0]} 65535\n".encode()
            (tmp_path / name).write_bytes(head + values.astype(">u2").tobytes())
        else:
            Image.fromarray(values).save(tmp_path / name)
        return tmp_path / name

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
    @pytest.mark.parametrize("largest", [65535, 4095, 1023, 300, 250])
    def test_sixteen_bits_are_taken_alike(self, tmp_path, name, largest):
        values = np.round(self.RAMP * largest).astype(np.uint16)
        np.testing.assert_array_equal(self.row(self.save(tmp_path, values, name)), values[0] >> 8)

    def test_a_range(self, tmp_path):
        values = np.round(self.RAMP * 4095).astype(np.uint16)
        path = self.save(tmp_path, values)
        np.testing.assert_array_equal(self.row(path, (0, 4095)), values[0] >> 4)
        np.testing.assert_allclose(self.row(path, (1000.0, 2000.5)), np.clip((values[0] - 1000.0) / 1000.5, 0, 1) * 255,
                                   atol=0.51)  # fmt: skip
        np.testing.assert_array_equal(self.row(path, (0, 100))[[0, 1, 2]], [0, round(65 * 2.55), 255])
        assert set(self.row(path, (5000, 6000))) == {0} and set(self.row(path, (-9, -5))) == {255}

    def test_floating_point_numbers_go_from_0_to_1(self, tmp_path):
        path = self.save(tmp_path, self.RAMP.astype(np.float32), "a.tif")
        np.testing.assert_array_equal(self.row(path), np.round(self.RAMP[0].astype(np.float32) * 255.0))
        wide = self.save(tmp_path, (self.RAMP * 3 - 1).astype(np.float32), "b.tif")
        np.testing.assert_allclose(self.row(wide), np.clip(self.RAMP[0] * 3 - 1, 0, 1) * 255, atol=0.51)
        np.testing.assert_allclose(self.row(wide, (-1, 2)), self.RAMP[0] * 255, atol=0.51)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_no_number(self, tmp_path, value):
        values = self.RAMP.astype(np.float32)
        values[3, 3] = value
        with pytest.raises(DatasetError, match=r"a\.tif: has pixels that are no finite numbers"):
            open_image(self.save(tmp_path, values, "a.tif"))

    @pytest.mark.parametrize(
        ("dtype", "largest"), [(np.int32, 2**31 - 1), (np.uint32, 2**32 - 1), (np.int16, 2**15 - 1)]
    )
    def test_integers_never_wrap(self, tmp_path, dtype, largest):
        tifffile = _write_tiff(tmp_path / "a.tif", np.round(self.RAMP * largest).astype(dtype))
        row = self.row(tifffile)
        assert (row[0], row[-1]) == (0, 255)
        np.testing.assert_allclose(row, self.RAMP[0] * 255.99, atol=1)

    def test_a_folder_says_it_once(self, tmp_path):
        for number in range(6):
            values = np.full((8, 8), 500 * number, np.uint16)
            for name in ("cat", "dog"):
                (tmp_path / name).mkdir(exist_ok=True)
                Image.fromarray(values + (name == "dog")).save(tmp_path / name / f"{number}.png")
        told = []
        plain = Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8)
        dataset = read_image_folder(tmp_path, plain, tell=told.append)
        everything = np.concatenate([dataset.train_images, dataset.test_images])
        assert sorted(everything[:, 0, 0, 0].tolist()) == sorted([500 * number // 256 for number in range(6)] * 2)
        (line,) = told
        assert "12 pictures have integers of 16 bits: 0 becomes black and 65,535 white" in line
        assert "the first of them is 2,501" in line and "value_range=(0, 2501)" in line
        told.clear()
        read_image_folder(tmp_path, plain, tell=told.append, value_range=(0, 2501))
        assert told == ["note: 12 pictures have integers of 16 bits: 0 becomes black and 2,501 white, in all"]

    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_one_without_a_largest_number_is_left_out(self, tmp_path, number):
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            for picture in range(3):
                values = np.full((8, 8), 0.1 * picture + 0.05 * (name == "b"), np.float32)
                Image.fromarray(values).save(tmp_path / name / f"{picture}.tif")
        Image.fromarray(np.full((8, 8), number, np.float32)).save(tmp_path / "a" / "0.tif")
        told, plain = [], Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8)
        dataset = read_image_folder(tmp_path, plain, tell=told.append, skip_broken=True)
        assert len(dataset.train_images) + len(dataset.test_images) == 5
        assert any("no finite numbers" in line for line in told)

    @pytest.mark.parametrize("value_range", [(0, np.inf), (np.nan, 1), (1, 0), (1, 1), (-np.inf, 0)])
    def test_a_range_that_is_none_is_refused(self, tmp_path, value_range):
        picture = self.save(tmp_path, np.full((8, 8), 0.1, np.float32), "a.tif")
        plain = Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8)
        with pytest.raises(DatasetError, match="expected two finite numbers, what is black and then what is white"):
            open_image(picture, value_range)
        with pytest.raises(DatasetError, match="expected two finite numbers"):
            read_image_folder(tmp_path, plain, value_range=value_range)

    def test_a_range_that_changes_nothing_and_one_that_cannot(self, tmp_path):
        told = []
        plain = Preprocessing((0.5,) * 3, (0.5,) * 3, size=8, resize=8)
        folder = TestImageFolder().folder(tmp_path, (4, 4))
        read_image_folder(folder, plain, tell=told.append, value_range=(0, 100))
        assert told == ["note: no picture has more than 8 bits, so that the range changes nothing"]


def _write_tiff(path, values):
    """A TIFF as other programs write it: one strip, its numbers as they are; 339 says signed or not."""
    import struct

    height, width = values.shape
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    tags = [(256, 4, width), (257, 4, height), (258, 3, values.itemsize * 8), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (277, 3, 1), (278, 4, height), (279, 4, len(data)),
            (339, 3, 2 if values.dtype.kind == "i" else 1)]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory)
    return path


class TestTexts:
    """A PNG whose text unpacks to more than Pillow reads is read; its pixels are whole."""

    @pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "many"])
    def test_any_kind(self, tmp_path, kind):
        import zlib

        from PIL.PngImagePlugin import PngInfo

        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
        image, info, options = Image.fromarray(pixels), PngInfo(), {}
        if kind == "zTXt":
            info.add_text("prompt", "x" * 3_000_000, zip=True)
        elif kind == "iTXt":
            info.add_itxt("prompt", "x" * 3_000_000, zip=True)
        elif kind == "iCCP":
            info.add(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3_000_000)))
        else:
            for number in range(80):
                info.add_text(f"prompt {number}", "x" * 1_000_000, zip=True)
        image.save(tmp_path / "a.png", pnginfo=info, **options)
        np.testing.assert_array_equal(open_image(tmp_path / "a.png"), pixels)
        with open(tmp_path / "a.png", "rb") as file:
            np.testing.assert_array_equal(open_image(file), pixels)

    def test_cut_short_it_is_damaged(self, tmp_path):
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("prompt", "x" * 3_000_000, zip=True)
        noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
        noise.save(tmp_path / "a.png", pnginfo=info)
        (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-1000])
        with pytest.raises(DatasetError, match=r"a\.png: is damaged"):
            open_image(tmp_path / "a.png")
