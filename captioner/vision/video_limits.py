"""How much video is read, and the errors for what is more."""

from __future__ import annotations

from dataclasses import dataclass

from captioner.errors import VideoTooLarge, VideoTooLong

_SHORTER = "Send a shorter video."
_SMALLER = "Send a shorter or a smaller video."


@dataclass(frozen=True)
class VideoLimits:
    """What is read at all. Beyond it, opening or reading ends with a typed error.

    ``max_bytes`` of the file. ``max_pixels`` of one frame, as stored and as shown.
    ``max_duration_s``: seconds between the first frame and the last. ``max_frames``: frames that
    are decoded. ``max_samples``: frames that are given out. ``max_seconds``: time that reading may
    take, without what passes between the asking for two frames.

    Bytes, pixels, and what the header says of duration and frames, are checked before reading;
    a header may lie, and so all of them are checked again on the way.
    """

    max_bytes: int = 2 * 2**30
    max_pixels: int = 4096 * 2304
    max_duration_s: float = 2 * 3600.0
    max_frames: int = 500_000
    max_samples: int = 500_000
    max_seconds: float = 3600.0

    def check_bytes(self, count: int) -> None:
        """Raise VideoTooLarge for a file of ``count`` bytes, if that is too many."""
        if count > self.max_bytes:
            raise VideoTooLarge(
                f"the file has {count / 2**20:.1f} MiB; "
                f"at most {self.max_bytes / 2**20:g} MiB are read.",
                hint=_SMALLER,
            )

    def check_size(self, width: int, height: int) -> None:
        """Raise VideoTooLarge for frames of this size, if that is too large."""
        if width * height > self.max_pixels:
            raise VideoTooLarge(
                f"its frames have {width} x {height} pixels ({width * height / 1e6:.1f} million); "
                f"at most {self.max_pixels / 1e6:g} million are read.",
                hint="Send a smaller video.",
            )

    def check_duration(self, seconds: float) -> None:
        """Raise VideoTooLong for a video that lasts ``seconds``, if that is too long."""
        if seconds > self.max_duration_s:
            raise VideoTooLong(
                f"the video has {seconds:.0f} seconds; "
                f"at most {self.max_duration_s:g} seconds are read.",
                hint=_SHORTER,
            )

    def check_frames(self, decoded: int) -> None:
        """Raise VideoTooLong after that many decoded frames, if there must be no more."""
        if decoded > self.max_frames:
            raise VideoTooLong(
                f"the video has more than {self.max_frames} frames.",
                hint=_SHORTER,
            )

    def check_samples(self, taken: int) -> None:
        """Raise VideoTooLong after that many frames were taken, if there must be no more."""
        if taken > self.max_samples:
            raise VideoTooLong(
                f"more than {self.max_samples} frames would be taken from the video.",
                hint="Send a shorter one, or take frames less often.",
            )
