"""HTTP/1.1 and bytes: no JSON, no vendor, no money. Never calls upward; it is given callables and objects to feed."""
