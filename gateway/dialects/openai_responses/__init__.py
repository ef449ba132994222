"""OpenAI's Responses, stateless: nothing is kept between two calls here.

```
 client's items ── items ──► turns ── vendor ──► a vendor's items
 Response object ◄─ output ── Answer ◄─ answers ── a vendor's Response object
 client's events ◄─ writer ── events ◄─ reader ── a vendor's events
```

A turn of the model is several items here: thoughts, texts and calls are joined to one turn of the neutral form when
they are read, and taken apart when they are written. Reasoning that a vendor encrypted goes back to it with the item's
id; other thoughts are shown to clients as summaries and are not sent to vendors.
"""

from __future__ import annotations

from gateway.dialects.openai_responses.surface import ResponsesSurface
from gateway.dialects.openai_responses.vendor import ResponsesVendor

SURFACE = ResponsesSurface()
VENDOR = ResponsesVendor()
