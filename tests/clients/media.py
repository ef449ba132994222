"""Pictures and sounds that clients send."""

from __future__ import annotations

import base64

from gateway.sandbox import media

PIXEL = media.png("a pixel", 1, 1)
PIXEL_URL = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
SPOKEN = "good morning everybody"
SOUND = media.wav(SPOKEN, 3)
# Larger than any buffer on the way: whoever forwards it has to stream.
LARGE_SOUND = media.wav("a long talk", 1, size=12_000_000)
