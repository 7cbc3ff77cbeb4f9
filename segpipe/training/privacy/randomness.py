"""Numbers that nobody can guess: the draw of patients and the noise must stay secret, or there is no guarantee."""

import hashlib
import os
from enum import IntEnum
from typing import TYPE_CHECKING, Self

import numpy as np
import torch

if TYPE_CHECKING:  # else with the first number: other trainings do without the library
    from cryptography.hazmat.primitives.ciphers.algorithms import AES

_BYTES = 8  # of a number
_DIGITS = 53  # of the fraction of a float64
_AT_ONCE = 2**18  # numbers


class Purpose(IntEnum):
    """What numbers are for; each has a stream of its own."""

    PATIENTS = 0
    NOISE = 1


class SecretNumbers:
    """The stream of AES-256 in counter mode for each step; torch's own generators can be reckoned from what they gave.

    Args:
        key: 32 bytes; the same key gives the same numbers.
    """

    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers.algorithms import AES

        self._cipher = AES(key)

    @classmethod
    def of_system(cls) -> Self:
        """With a key from the operating system, which is kept nowhere."""
        return cls(os.urandom(32))

    @classmethod
    def of_seed(cls, seed: int) -> Self:
        """Repeatable: whoever knows the seed knows all numbers."""
        return cls(hashlib.sha256(f"segpipe privacy {seed}".encode()).digest())

    def uniform(self, purpose: Purpose, step: int, count: int) -> torch.Tensor:
        """So many float64 from 0 to 1 - 2⁻⁵³ for a step."""
        return _Stream(self._cipher, purpose, step).take(count)

    def normal(self, purpose: Purpose, step: int, shapes: list[torch.Size]) -> list[torch.Tensor]:
        """Float64 tensors of standard normal numbers for a step.

        Each is half the sum of four by Box and Muller: of a single one the last digits can show what it was added to.

        Source: Holohan and Braghin, ESORICS 2021, arXiv 2107.10138, section 5.1, with n = 2.
        """
        stream = _Stream(self._cipher, purpose, step)
        return [_normals(stream, shape.numel()).reshape(shape) for shape in shapes]


class _Stream:
    """Numbers of one purpose and step, one after the other."""

    def __init__(self, cipher: "AES", purpose: Purpose, step: int) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers.modes import CTR

        nonce = int(purpose).to_bytes(1, "big") + step.to_bytes(7, "big") + bytes(8)  # the last half counts blocks
        self._encryptor = Cipher(cipher, CTR(nonce)).encryptor()

    def take(self, count: int) -> torch.Tensor:
        content = np.frombuffer(self._encryptor.update(bytes(count * _BYTES)), dtype="<u8")
        return torch.from_numpy((content >> (64 - _DIGITS)) * 2.0**-_DIGITS)


def _normals(stream: _Stream, count: int) -> torch.Tensor:
    values = torch.empty(count, dtype=torch.float64)
    for first in range(0, count, _AT_ONCE):  # piece by piece, so that memory is bounded
        piece = values[first : first + _AT_ONCE]
        piece.copy_(_piece(stream, len(piece)))
    return values


def _piece(stream: _Stream, count: int) -> torch.Tensor:
    radius = (-2 * torch.log1p(-stream.take(2 * count))).sqrt()
    angle = 2 * torch.pi * stream.take(2 * count)
    return torch.stack([radius * angle.cos(), radius * angle.sin()]).reshape(4, count).sum(0) / 2
