"""The gateway beside other proxies on this machine; run from a checkout: `python -m bench.compare`."""
