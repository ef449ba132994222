"""Simulated vendors on real sockets: every vendor of the gateway, strict, deterministic, scriptable, offline."""
