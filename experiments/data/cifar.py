"""CIFAR-10 and CIFAR-100 through tensorflow-datasets, without TensorFlow.

The stock builders need TensorFlow to prepare the data. `Cifar` needs Pillow only, and
writes lossless PNG to array_record. Without a network, put the archive into
DATA_DIR/downloads/manual/.
"""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm
from PIL import Image

from ..common.errors import UserError
from .cache import Arrays, cached
from .cifar_archive import ARCHIVES, fetch, parse
from .dataset import SPLITS, Dataset, Split


class Cifar(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Prepares the binary archives; there is a configuration for each of `ARCHIVES`."""

    name = "lipjax_cifar"
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ARCHIVES]
    url_infos = None  # `fetch` checks; looking for a list needs importlib_resources

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(shape=(32, 32, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager):
        archive = ARCHIVES[str(self.builder_config_name)]
        path = fetch(archive, pathlib.Path(os.fspath(dl_manager.download_dir)))
        train, test, names = parse(archive, path)
        features: Any = self.info.features
        features["label"].names = names
        return {
            "train": self._generate_examples(train),
            "test": self._generate_examples(test),
        }

    def _generate_examples(self, split: Split) -> Iterator[tuple[int, dict]]:
        examples = zip(split.images, split.labels, strict=True)
        for index, (image, label) in enumerate(examples):
            yield index, {"image": _png(image), "label": int(label)}


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def load_cifar(name: str, data_dir: str | None) -> Dataset:
    """Reads "cifar10" or "cifar100" (fine labels), preparing it the first time.

    Args:
      name: a key of `ARCHIVES`.
      data_dir: folder of tensorflow-datasets; None: its default.

    Returns:
      Images uint8 [N, 32, 32, 3], in the order of the archive.

    Raises:
      UserError: if the archive or the prepared data cannot be fetched or is damaged.
    """
    builder = _builder(name, data_dir)
    if not builder.data_path.exists():
        _prepare(builder)
        builder = _builder(name, data_dir)  # another process may have been faster
    info = builder.data_path / "dataset_info.json"
    if not info.exists():
        raise _damaged(builder)
    arrays = cached(name, info, data_dir, lambda: _read(builder))
    train, test = (Split(arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in SPLITS)
    features: Any = builder.info.features
    names = tuple(features["label"].names)
    return Dataset(name, train, train.spread(0), test, names, crop_padding=4)


def _builder(name: str, data_dir: str | None) -> Cifar:
    return Cifar(config=name, data_dir=data_dir and os.path.expanduser(data_dir))


def _prepare(builder: Cifar) -> None:
    """Writes to a temporary folder, which is renamed once complete."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            builder.download_and_prepare(file_format="array_record")
    except OSError as error:
        if not builder.data_path.exists():
            raise UserError(
                f"cannot prepare {builder.data_path} ({error}): choose another data_dir"
            ) from error


def _read(builder: Any) -> Arrays:
    """Decodes the prepared data: images uint8 [N, 32, 32, 3], labels int32 [N]."""
    arrays = {}
    try:
        for split in SPLITS:
            encoded = {"image": tfds.decode.SkipDecoding()}
            source = builder.as_data_source(split=split, decoders=encoded)
            title = f"read {split} images"
            records = list(tqdm.tqdm(source, title, delay=2, disable=None))
            images = [_pixels(record["image"]) for record in records]
            arrays[f"{split}_images"] = np.stack(images)
            labels = [record["label"] for record in records]
            arrays[f"{split}_labels"] = np.array(labels, np.int32)
    except (OSError, ValueError, IndexError, RuntimeError) as error:
        raise _damaged(builder) from error
    return arrays


def _damaged(builder: Cifar) -> UserError:
    return UserError(f"{builder.data_path} is damaged: delete it to prepare it again")


def _pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image)
