"""What a model reads of the frames of videos, made once and kept in memory-mapped files.

A row a frame, those of all videos one behind the other: pixels, where the encoder learns, a
ResNet's map where its last stages do, features where none does, or the path of a hand. The file's
name is a hash of everything that decides its content, as in ``training/features.py``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from captioner.errors import DataError, UserError
from captioner.vision.crops import Crop, grey
from captioner.vision.encoder import STAGES, ResNetEncoder
from captioner.vision.hand_path import HandPathEncoder
from captioner.vision.preprocess import Preprocessing
from captioner.vision.video import open_video
from training.data.splits import picture_key
from training.data.video_tables import LabelledVideo, VideoFile
from training.features import weights_hash

CHUNK = 32  # frames under way at a time


@dataclass(frozen=True)
class Clips:
    """The frames of some videos, in their order.

    ``rows (frames, …)``: uint8 pixels ``(C, H, W)``, a float16 map, float16 features ``(D,)`` or
    a float32 path ``(7,)``.
    ``offsets (videos + 1,)``: where each video's frames begin. ``numbers``, ``times (frames,)``: of
    each frame in its video, and its seconds from the first one. ``chosen``: which videos count.
    """

    rows: np.ndarray
    offsets: np.ndarray
    numbers: np.ndarray
    times: np.ndarray
    chosen: Sequence[int] | None = None

    def __len__(self) -> int:
        """Videos."""
        return len(self.offsets) - 1 if self.chosen is None else len(self.chosen)

    def span(self, video: int) -> slice:
        """Which rows are a video's."""
        number = video if self.chosen is None else self.chosen[video]
        return slice(int(self.offsets[number]), int(self.offsets[number + 1]))

    def of(self, videos: Sequence[int]) -> Clips:
        """Some of the videos, by number, in this order; the file stays as it is."""
        return replace(self, chosen=list(videos))


def cached_clips(
    videos: Sequence[LabelledVideo],
    preprocessing: Preprocessing,
    directory: str | Path,
    *,
    every_s: float | None = None,
    crop: Crop | None = None,
    encoder: ResNetEncoder | HandPathEncoder | None = None,
    stages: int = len(STAGES),
    name: str = "clips",
) -> Clips:
    """The frames of ``videos``, one every ``every_s`` seconds or all.

    ``crop``: the part that is kept of what ``preprocessing`` makes of them. It sees them in colour,
    and a whole video at a time.

    ``encoder``: None for pixels, else the frames' map after its first ``stages`` stages, with all
    of them their features; of an encoder that reads a path, that path. An unfinished file never
    bears the final name.

    Raises ``DataError`` that names a video that cannot be read to a frame.
    """
    key = _key(videos, preprocessing, every_s, crop, encoder, stages)
    path = Path(directory) / f"{name}-{key}.rows"
    if not path.with_suffix(".npz").exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.partial")
        try:
            reader = encoder if isinstance(encoder, HandPathEncoder) else None
            network = encoder if isinstance(encoder, ResNetEncoder) else None
            frames = _chunks(videos, preprocessing, every_s, crop, reader)
            index = _compute(unfinished, frames, len(videos), preprocessing, network, stages, name)
            unfinished.replace(path)
            with unfinished.open("wb") as file:
                np.savez(file, **index)
            unfinished.replace(path.with_suffix(".npz"))
        finally:
            unfinished.unlink(missing_ok=True)
    index = dict(np.load(path.with_suffix(".npz")))
    shape, dtype = tuple(index["shape"].tolist()), np.dtype(str(index["dtype"]))
    rows = np.memmap(path, dtype=dtype, mode="r", shape=shape) if shape[0] else np.empty(shape)
    return Clips(rows, index["offsets"], index["numbers"], index["times"])


def _compute(
    path: Path,
    chunks: Iterator[_Chunk],
    videos: int,
    preprocessing: Preprocessing,
    encoder: ResNetEncoder | None,
    stages: int,
    name: str,
) -> dict[str, np.ndarray]:
    fused = None if encoder is None else encoder.fused()
    lengths, numbers, times = [0] * videos, [], []
    shape, dtype = (0,), "uint8"
    progress = tqdm(total=videos, desc=name, unit="video", mininterval=1)
    with path.open("wb") as file, torch.inference_mode(), progress:
        for chunk in _ahead(chunks):
            found = chunk.pixels.numpy()
            if encoder is not None and fused is not None:
                device = next(encoder.parameters()).device
                images = preprocessing.normalise(chunk.pixels.to(device))
                found = _seen(fused, images, stages).half().cpu().contiguous().numpy()
            file.write(found.tobytes())
            shape, dtype = found.shape[1:], found.dtype.name
            if lengths[chunk.video] == 0:
                progress.update()
            lengths[chunk.video] += len(found)
            numbers += chunk.numbers
            times += chunk.times
    return {
        "shape": np.array([sum(lengths), *shape]),
        "dtype": np.array(dtype),
        "offsets": np.cumsum([0, *lengths]),
        "numbers": np.array(numbers, dtype=np.int64),
        "times": np.array(times, dtype=np.float64),
    }


def _seen(encoder: ResNetEncoder, images: Tensor, stages: int) -> Tensor:
    maps = encoder.lower(images.to(memory_format=torch.channels_last), stages)
    return encoder.upper(maps, stages).mean(1) if stages == len(STAGES) else maps


@dataclass
class _Chunk:
    video: int
    pixels: Tensor
    numbers: list[int]
    times: list[float]


def _chunks(
    videos: Sequence[LabelledVideo],
    preprocessing: Preprocessing,
    every_s: float | None,
    crop: Crop | None,
    reader: HandPathEncoder | None,
) -> Iterator[_Chunk]:
    read_as = preprocessing if crop is None else replace(preprocessing, grey=False)
    for number, video in enumerate(videos):
        read = 0
        try:
            frames = _frames(number, video.file, read_as, every_s)
            if crop is not None:
                cut = partial(_cropped, crop=crop, to_grey=preprocessing.grey)
                frames = _as_a_whole(frames, cut)
            if reader is not None:
                frames = _as_a_whole(frames, reader.read)
            for chunk in frames:
                read += len(chunk.times)
                yield chunk
        except OSError as error:
            raise DataError(f"{video.name} cannot be read: {error}.") from None
        except UserError as error:
            if not read:
                raise DataError(f"{video.name}: {error.message}", hint=error.hint) from error


def _frames(
    number: int, file: VideoFile | None, preprocessing: Preprocessing, every_s: float | None
) -> Iterator[_Chunk]:
    if file is None:
        raise DataError("there is no such file.")
    source, size = file.open(), preprocessing.target_size()
    with open_video(source, every_s=every_s, target_size=size, threads=1) as video:
        chunk = _Chunk(number, torch.empty(0), [], [])
        pixels: list[Tensor] = []
        for frame in video:
            pixels.append(preprocessing.pixels(frame.image))
            chunk.numbers.append(frame.index)
            chunk.times.append(frame.time_s - video.info.start_s)
            if len(pixels) == CHUNK:
                chunk.pixels = torch.stack(pixels)
                yield chunk
                chunk, pixels = _Chunk(number, torch.empty(0), [], []), []
        if pixels:
            chunk.pixels = torch.stack(pixels)
            yield chunk


def _as_a_whole(chunks: Iterator[_Chunk], change: Callable[[Tensor], Tensor]) -> Iterator[_Chunk]:
    whole = list(chunks)
    if not whole:
        return
    rows = change(torch.cat([chunk.pixels for chunk in whole]))
    parts = rows.split([len(chunk.times) for chunk in whole])
    for chunk, part in zip(whole, parts, strict=True):
        chunk.pixels = part
        yield chunk


def _cropped(pixels: Tensor, crop: Crop, to_grey: bool) -> Tensor:
    return grey(crop(pixels)) if to_grey else crop(pixels)


def _ahead(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """Decodes the next frames in a thread while the encoder works on these."""
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, chunks, None)
        while (chunk := pending.result()) is not None:
            pending = pool.submit(next, chunks, None)
            yield chunk


def _key(
    videos: Sequence[LabelledVideo],
    preprocessing: Preprocessing,
    every_s: float | None,
    crop: Crop | None,
    encoder: ResNetEncoder | HandPathEncoder | None,
    stages: int,
) -> str:
    network = encoder if isinstance(encoder, ResNetEncoder) else None
    about = {
        "videos": [_video_key(video) for video in videos],
        "every_s": every_s,
        "crop": None if crop is None else asdict(crop),
        "preprocessing": preprocessing.to_dict(),
        "weights": None if network is None else weights_hash(network),
        "stages": None if network is None else stages,
    }
    if isinstance(encoder, HandPathEncoder):
        about["reading"] = encoder.reading
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:20]


def _video_key(video: LabelledVideo) -> str:
    if video.file is None:
        return video.name
    key = picture_key(None, str(video.file.path))
    return key if video.file.member is None else f"{key}/{video.file.member}"
