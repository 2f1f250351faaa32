"""Device types of PyTorch: its own, and those that packages of vendors bring (PrivateUse1)."""

from __future__ import annotations

import importlib

import torch
import torch.distributed as dist

# What device types need that ShardCTS brings itself; for others the option import names the module.
_OWN_MODULES = {"hostdev": "shardcts_hostdev"}
# Backends over ShardCTS's own transport, and what registers them.
OWN_BACKENDS = {"local": "shardcts_local", "hostlocal": "shardcts_hostdev"}


def bring(device_type: str, module: str | None) -> None:
    """Imports what brings the device type: the module, or ours. Raises ValueError, one line."""
    name = module or _OWN_MODULES.get(device_type)
    if name is not None:
        try:
            importlib.import_module(name)
        except BaseException as error:  # a vendor's package may do anything
            text = " ".join(f"{type(error).__name__}: {error}".split())
            raise ValueError(f"module '{name}', which is to bring device type '{device_type}', cannot be imported: "
                             f"{text}") from error
    if not _is_known(device_type):
        brought = f", and module '{name}' brings none of that name" if name else "; import=MODULE names what brings it"
        raise ValueError(f"PyTorch {torch.__version__} knows no device type '{device_type}'{brought}")


def local_device(device_type: str, local_rank: int, may_share: bool) -> torch.device:
    """This rank's device, made the current one. Raises ValueError when there are too few and ranks may not share one."""
    if device_type == "cpu":
        return torch.device("cpu")
    count = torch.get_device_module(device_type).device_count()
    if count == 0 or (local_rank >= count and not may_share):
        raise ValueError(f"rank with local rank {local_rank} needs {device_type}:{local_rank}, {count} are there; with "
                         "share=yes ranks share devices")
    device = torch.device(device_type, local_rank % count)
    torch.get_device_module(device_type).set_device(device)
    return device


def backend_for(device_type: str, wanted: str | None) -> str:
    """The backend that is wanted, or PyTorch's own choice. Raises ValueError when it has none for this device type."""
    if wanted in OWN_BACKENDS:
        importlib.import_module(OWN_BACKENDS[wanted])
    if wanted is None:
        try:
            return dist.get_default_backend_for_device(device_type)
        except ValueError as error:
            raise ValueError(f"no backend is registered for device type '{device_type}'; backend=NAME names one") from error
    try:
        serves = dist.BackendConfig(dist.Backend(wanted)).get_device_backend_map()
    except (ValueError, AttributeError) as error:
        raise ValueError(f"option backend={wanted}: {' '.join(str(error).split())}") from error
    registered = {name for entry in serves.values() for name in [str(entry)]}
    unknown = sorted(registered - set(dist.Backend.backend_list))
    if unknown:
        raise ValueError(f"option backend={wanted}: no backend '{unknown[0]}' is registered; "
                         f"there are {', '.join(sorted(dist.Backend.backend_list))}")
    name = str(serves.get(device_type, ""))
    if not name or device_type not in dist.Backend.backend_capability.get(name, [device_type]):
        raise ValueError(f"option backend={wanted}: not registered for device type '{device_type}'")
    return wanted


def name_of(device: torch.device) -> str:
    """What the device calls itself; empty where its module does not say."""
    if device.type == "cpu":
        return ""
    get_name = getattr(torch.get_device_module(device), "get_device_name", None)
    return str(get_name(device)) if get_name else ""


def _is_known(device_type: str) -> bool:
    try:
        torch.get_device_module(device_type)
        return torch.device(device_type).type == device_type
    except (AttributeError, RuntimeError):
        return False
