"""What a proxy costs: CPU time per request and per event, and latency added, direct against through, on this machine.

Three parts, all on real sockets of this machine: a far side that answers as cheaply as Python can (`far_side`), clients
in a closed loop that check every byte (`load`), and the CPU clock of the proxy's processes, read by the kernel's own
account (`processes`). CPU time is what counts, because it is what a proxy takes from a machine whatever else runs
there; the wall clock is only used for latency. `gateway bench` is `command`; the comparison with other proxies in
`bench/` stands on the same parts.
"""

from gateway.benchmark.command import run

__all__ = ["run"]
