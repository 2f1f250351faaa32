"""The emulated accelerator: what the host must not do, what is late, what is poisoned. Each case runs in a process of its own
with the settings that it names; SHARDCTS_HOSTDEV_PACKAGE is the folder that holds the package."""

import os
import signal
import subprocess
import sys

import pytest

PACKAGES = os.environ["SHARDCTS_HOSTDEV_PACKAGE"]

BEGIN = """
import ctypes, torch, torch.distributed as dist
import shardcts_hostdev
from shardcts_hostdev import _hostdev

def device_bytes(address, count):
    "As device code reads them."
    return ctypes.string_at(_hostdev.alias_address(address), count)
"""


def run(body: str, **settings: str) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": PACKAGES, "OMP_NUM_THREADS": "1", **settings}
    return subprocess.run([sys.executable, "-B", "-c", BEGIN + body], env=environment, text=True, capture_output=True,
                          timeout=100, check=False)


def passes(body: str, **settings: str) -> None:
    done = run(body, **settings)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("touch", ["ctypes.string_at(t.data_ptr(), 4)", "ctypes.memset(t.data_ptr(), 0, 4)"])
def test_the_host_cannot_touch_device_memory(touch):
    done = run(f"t = torch.ones(4, device='hostdev'); torch.hostdev.synchronize(); {touch}")
    assert done.returncode == -signal.SIGSEGV, done.stderr


def test_kernels_have_the_bits_of_the_cpu():
    passes("""
torch.manual_seed(3); a = torch.randn(5, 7); b = torch.randn(7, 3)
torch.manual_seed(3); c = torch.randn(5, 7, device='hostdev'); d = torch.randn(7, 3, device='hostdev')
assert torch.equal((c @ d).softmax(0).cpu(), (a @ b).softmax(0))
v = c.t()[1:4, ::2]; assert v.device.type == 'hostdev' and torch.equal((v + 1).cpu(), a.t()[1:4, ::2] + 1)
""")


def test_tensors_of_two_devices_do_not_mix():
    passes("""
one = torch.ones(2, device='hostdev:0')
for other in (torch.ones(2, device='hostdev:1'), torch.ones(2)):
    try:
        one + other
        raise SystemExit('they mix')
    except RuntimeError as error:
        assert 'same device' in str(error), error
assert torch.equal((one + torch.tensor(1.0)).cpu(), torch.tensor([2.0, 2.0]))  # a scalar of the host
""")


def test_memory_that_is_new_or_freed_is_poison():
    passes("""
t = torch.empty(64, device='hostdev'); torch.hostdev.synchronize()
assert device_bytes(t.data_ptr(), 256) == b'\\xff' * 256
t.fill_(1.0); torch.hostdev.synchronize(); address = t.data_ptr()
assert device_bytes(address, 4) == b'\\x00\\x00\\x80\\x3f'
del t
assert device_bytes(address, 256) == b'\\xff' * 256
""")


def test_a_kernel_is_late_for_a_stream_that_does_not_wait():
    body = """
a = torch.ones(3, device='hostdev'); s = torch.hostdev.Stream()
s.wait_stream(torch.hostdev.current_stream())
with torch.hostdev.stream(s):
    b = a * 2
early = (b + 0).cpu()
torch.hostdev.current_stream().wait_stream(s)
assert (b + 0).cpu().tolist() == [2, 2, 2]
assert early.isnan().all() == {}, early
"""
    passes(body.format(True))
    passes(body.format(False), SHARDCTS_HOSTDEV_LATE="none")


def test_an_event_orders_two_streams():
    passes("""
a = torch.ones(3, device='hostdev'); s = torch.hostdev.Stream(); e = torch.hostdev.Event()
s.wait_stream(torch.hostdev.current_stream())
with torch.hostdev.stream(s):
    b = a * 2
    e.record()
assert not e.query() and e.query()
torch.hostdev.current_stream().wait_event(e)
assert (b + 0).cpu().tolist() == [2, 2, 2]
""")


def test_copies_of_pinned_memory_are_late():
    passes("""
a = torch.arange(4.0, device='hostdev')
pinned, pageable = torch.empty(4).pin_memory(), torch.empty(4)
assert pinned.is_pinned() and not pageable.is_pinned()
pageable.copy_(a, non_blocking=True); assert pageable.tolist() == [0, 1, 2, 3]
pinned.copy_(a, non_blocking=True); assert pinned.isnan().all()
torch.hostdev.synchronize(); assert pinned.tolist() == [0, 1, 2, 3]
there = pinned.to('hostdev', non_blocking=True); pinned.zero_()  # before the device has read it
assert there.cpu().tolist() == [0, 0, 0, 0]
""")


def test_a_collective_is_late_until_it_is_waited_for():
    passes("""
dist.init_process_group('hostccl', store=dist.HashStore(), rank=0, world_size=1)
t = torch.ones(3, device='hostdev')
work = dist.all_reduce(t, async_op=True)
assert t.cpu().isnan().all()
work.wait(); assert t.cpu().tolist() == [1, 1, 1]
dist.all_reduce(t, op=dist.ReduceOp.AVG); assert t.cpu().tolist() == [1, 1, 1]
assert dist.get_default_backend_for_device('hostdev') == 'hostccl'
""")


def test_a_collective_fails_on_command():
    passes("""
dist.init_process_group('hostccl', store=dist.HashStore(), rank=0, world_size=1)
t = torch.ones(3, device='hostdev')
dist.all_reduce(t); torch.hostdev.synchronize()
dist.all_reduce(t)
try:
    torch.hostdev.synchronize()
    raise SystemExit('it does not fail')
except RuntimeError as error:
    assert 'fails on command' in str(error), error
""", SHARDCTS_HOSTDEV_FAIL="0:2")


def test_memory_is_counted():
    passes("""
before = torch.accelerator.memory_allocated()
torch.accelerator.reset_peak_memory_stats()
t = torch.empty(1 << 20, device='hostdev'); del t
assert torch.accelerator.memory_allocated() == before
assert torch.accelerator.max_memory_allocated() - before >= 4 << 20
reserved = torch.accelerator.memory_reserved()
torch.accelerator.empty_cache(); assert reserved - torch.accelerator.memory_reserved() >= 4 << 20
""")


def test_a_recorded_stream_keeps_memory_until_it_is_done():
    passes("""
a = torch.ones(64, device='hostdev'); torch.hostdev.synchronize(); address = a.data_ptr()
s = torch.hostdev.Stream()
with torch.hostdev.stream(s):
    b = a * 2
a.record_stream(s); del a
assert device_bytes(address, 4) == b'\\x00\\x00\\x80\\x3f'
s.synchronize(); assert device_bytes(address, 4) == b'\\xff' * 4
""")


@pytest.mark.parametrize("name, value, message", [
    ("SHARDCTS_HOSTDEV_DEVICES", "0", "1 to 64"), ("SHARDCTS_HOSTDEV_LATE", "often", "neither all, none, nor a seed")])
def test_settings_that_do_not_exist_are_said(name, value, message):
    done = run("torch.ones(2, device='hostdev').cpu(); torch.hostdev.device_count()", **{name: value})
    assert done.returncode == 1 and message in done.stderr, done.stderr


def test_conjugated_and_negated_tensors_are_copied_by_their_values():
    passes("""
t = torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64)
d = t.to("hostdev")
assert torch.equal(d.conj().cpu(), t.conj().resolve_conj())
assert torch.equal(d.conj().clone().cpu(), t.conj().resolve_conj())
assert torch.equal((d * d.conj()).cpu(), (t * t.conj()).resolve_conj())
assert torch.equal(d.conj().imag.cpu(), torch.tensor([-2.0, 4.0]))
""")
