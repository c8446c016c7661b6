"""One family of errors: each has a stable code, a sentence with the value in it, and a hint.

    CaptionerError
    └── UserError                 something a user can cause and mend
        ├── ImageError            invalid_image
        │   ├── UnsupportedImage  unsupported_image_format
        │   ├── ImageTooLarge     image_too_large
        │   ├── ImageTooSmall     image_too_small
        │   └── EmptyFile         empty_file
        ├── VideoError            invalid_video
        │   ├── UnsupportedVideo  unsupported_video_format
        │   ├── NoVideoStream     no_video_stream
        │   ├── VideoTooLarge     video_too_large
        │   ├── VideoTooLong      video_too_long
        │   ├── VideoTimeout      video_timeout
        │   └── EmptyVideo        empty_file
        ├── TextError             invalid_text
        │   ├── EmptyText         empty_text
        │   ├── TextTooLong       text_too_long
        │   └── UnknownCharacters unknown_characters
        ├── InvalidOption         invalid_option
        │   ├── UnsupportedPair   unsupported_language_pair
        │   └── UnknownModel      unknown_model
        ├── UnknownOption         unknown_option
        ├── BundleError           invalid_bundle
        │   └── MissingBundle     missing_bundle
        ├── WeightsError          missing_weights
        └── DataError             invalid_data

The command line prints ``message`` and ``hint`` and leaves with exit code 2; the service maps
``code`` to a status in one table (``serving/responses.py``).
"""

from __future__ import annotations


class CaptionerError(Exception):
    """Anything this library raises on purpose."""


class UserError(CaptionerError):
    """An error that a user can cause.

    ``message`` says what was wrong, with the value in it; ``hint`` says what to do.
    """

    code = "invalid_input"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class ImageError(UserError):
    """The bytes are an image format we read, but no picture comes out of them."""

    code = "invalid_image"


class UnsupportedImage(ImageError):
    """The bytes are not of an image format that we read."""

    code = "unsupported_image_format"


class ImageTooLarge(ImageError):
    """More bytes or pixels than the limits allow."""

    code = "image_too_large"


class ImageTooSmall(ImageError):
    """A side shorter than the limits allow."""

    code = "image_too_small"


class EmptyFile(ImageError):
    """No bytes at all."""

    code = "empty_file"


class VideoError(UserError):
    """The bytes are a container we read, but no frame comes out of them."""

    code = "invalid_video"


class UnsupportedVideo(VideoError):
    """The bytes are not of a container, or not in a codec, that we read."""

    code = "unsupported_video_format"


class NoVideoStream(VideoError):
    """A container with sound, subtitles or cover art, and nothing that moves."""

    code = "no_video_stream"


class VideoTooLarge(VideoError):
    """More bytes, or more pixels in a frame, than the limits allow."""

    code = "video_too_large"


class VideoTooLong(VideoError):
    """More seconds or more frames than the limits allow."""

    code = "video_too_long"


class VideoTimeout(VideoError):
    """Reading took longer than the limits allow."""

    code = "video_timeout"


class EmptyVideo(VideoError):
    """No bytes at all; a client is told the same as of an empty picture."""

    code = EmptyFile.code


class TextError(UserError):
    """A text that a model cannot read as it is."""

    code = "invalid_text"


class EmptyText(TextError):
    """Nothing but white space."""

    code = "empty_text"


class TextTooLong(TextError):
    """More characters, or more texts, than the limits allow."""

    code = "text_too_long"


class UnknownCharacters(TextError):
    """Characters that a character model has never seen."""

    code = "unknown_characters"


class InvalidOption(UserError):
    """An option's value is out of range, or contradicts another option."""

    code = "invalid_option"


class UnsupportedPair(InvalidOption):
    """No model, or more than one, translates from this language to that one."""

    code = "unsupported_language_pair"


class UnknownModel(InvalidOption):
    """Of the models for a task none has this name."""

    code = "unknown_model"


class UnknownOption(UserError):
    """An option of this name does not exist."""

    code = "unknown_option"


class BundleError(UserError):
    """A bundle is damaged, truncated, foreign or does not fit its own description."""

    code = "invalid_bundle"


class MissingBundle(BundleError):
    """No bundle of this name, or for this task, is installed."""

    code = "missing_bundle"


class WeightsError(UserError):
    """Pretrained weights can neither be fetched nor found."""

    code = "missing_weights"


class DataError(UserError):
    """A table, a text or a picture file given for training cannot be used as it is."""

    code = "invalid_data"
